"""The DynamoDB table: the only importer of boto3, and where botocore's errors stop. Its methods block."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError
from botocore.session import Session

from slipway.errors import InvalidInput, MirrorError, MirrorThrottled
from slipway.mirror import item
from slipway.mirror.changes import Change
from slipway.mirror.item import Item

CONFIG = Config(connect_timeout=5, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
BATCH = 25
"""The most changes that one call takes."""

_THROTTLED = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
    }
)
_REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "UnrecognizedClientException",
    }
)

Page = tuple[list[Item], Item | None]
"""Items, and the key after which the next page begins; None: that was the last."""


class Table:
    """Our items of one table. Every method raises MirrorError and nothing else; none is called twice at once."""

    def __init__(self, name: str, region: str | None, namespace: str) -> None:
        """Raises InvalidInput where no region is known. Nothing is asked of the network yet."""
        self._name = name
        self._namespace = namespace
        self._region = region or _configured_region()
        if not self._region:
            raise InvalidInput("AWS_REGION", f"must name the region of DDB_STACK_TABLE {name}")
        self._client: Any = None

    @property
    def full(self) -> str:
        """What to say where there is no room for our calls."""
        return f"the DynamoDB table {self._name} is at the end of its capacity: give it more, or on-demand mode"

    def read(self, after: Item | None) -> Page:
        """One page of our items, as they are now."""
        where: dict[str, Any] = {
            "TableName": self._name,
            "ConsistentRead": True,
            "FilterExpression": "begins_with(pk, :prefix) AND sk = :namespace",
            "ExpressionAttributeValues": {":prefix": {"S": item.PREFIX}, ":namespace": {"S": self._namespace}},
        }
        with self._telling():
            answer = self._connected().scan(**where, **({"ExclusiveStartKey": after} if after else {}))
            return answer["Items"], answer.get("LastEvaluatedKey")

    def write(self, changes: Sequence[Change]) -> set[str]:
        """At most BATCH changes; returns the UIDs of those that DynamoDB had no room for."""
        requests = [self._request(change) for change in changes]
        with self._telling():
            answer = self._connected().batch_write_item(RequestItems={self._name: requests})
            left = [request for some in answer["UnprocessedItems"].values() for request in some]
        return {item.uid_of(_key(request)) for request in left}

    def close(self) -> None:
        """Let go of the connections; the next call makes new ones."""
        client, self._client = self._client, None
        if client:
            client.close()

    def _request(self, change: Change) -> Item:
        if change.stack is None:
            return {"DeleteRequest": {"Key": item.key(change.uid, self._namespace)}}
        return {"PutRequest": {"Item": item.build(change.stack)}}

    def _connected(self) -> Any:
        # made at the first call and not before: finding credentials may take the network, and seconds
        if self._client is None:
            self._client = _session().client("dynamodb", region_name=self._region)
        return self._client

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what botocore raises into words that say what to do."""
        try:
            yield
        except ClientError as error:
            raise self._said(error) from error
        except (BotoConnectionError, HTTPClientError, ResponseParserError) as error:
            where = f"{self._name} in {self._region}"
            raise MirrorError(f"the DynamoDB table {where} cannot be reached ({type(error).__name__})") from error
        except BotoCoreError as error:
            self.close()  # a client that found no credentials never looks for them again
            raise MirrorError(f"the DynamoDB table {self._name} needs AWS credentials: {str(error)[:300]}") from error
        except (KeyError, TypeError, ValueError, OSError) as error:  # an endpoint that is none, or answers nonsense
            self.close()
            raise MirrorError(
                f"what answers for the DynamoDB table {self._name} is not DynamoDB ({error!r})"
            ) from error

    def _said(self, error: ClientError) -> MirrorError:
        code = str(error.response["Error"].get("Code", "unknown"))
        said = f"{error.operation_name}: {code}: {str(error.response['Error'].get('Message', ''))[:300]}"
        table = f"the DynamoDB table {self._name}"
        if code == "ResourceNotFoundException":
            keys = "with the keys pk and sk (String)"
            return MirrorError(f"there is no DynamoDB table {self._name} in {self._region}: create it {keys}")
        if code in _THROTTLED:
            return MirrorThrottled(self.full)
        if code in _REFUSED:
            return MirrorError(f"{table} needs dynamodb:Scan and dynamodb:BatchWriteItem, see docs/mirror.md ({said})")
        if code == "ValidationException":
            return MirrorError(f"{table} must have the keys pk and sk, both String ({said})")
        return MirrorError(f"{table} refuses ({said})")


def _session() -> boto3.Session:
    session = Session()
    session.set_default_client_config(CONFIG)  # so that it holds for the calls that bring credentials, too
    return boto3.Session(botocore_session=session)


def _configured_region() -> str | None:
    """What AWS_DEFAULT_REGION or the profile says."""
    try:
        region: str | None = _session().region_name
    except BotoCoreError as error:
        raise InvalidInput("AWS_REGION", f"must be set: the AWS configuration names none ({error})") from error
    return region


def _key(request: Item) -> Item:
    found: Item = request["DeleteRequest"]["Key"] if "DeleteRequest" in request else request["PutRequest"]["Item"]
    return found
