"""Every example does what its README says."""

from pathlib import Path

import pytest

from tests.support import examples
from tests.support.product import Product


@pytest.mark.parametrize("example", examples.EXAMPLES, ids=lambda path: path.name)
def test_example(product: Product, example: Path) -> None:
    done = examples.run(example, product.env_file)
    assert done.returncode == 0, done.stdout
    if example.name == "01-stack":
        assert "find the flag, player 101!" in done.stdout
