"""Requests and answers of the login."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, SecretStr

from api_gateway.wire.body import Request

BEARER: Final = "bearer"


class Login(Request):
    """Who one is, by a password."""

    username: Annotated[str, Field(min_length=1, max_length=256)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class Token(BaseModel):
    """What to send from now on, as `Authorization: Bearer`."""

    access_token: str
    token_type: Literal["bearer"] = BEARER
    expires_in: Annotated[int, Field(description="Seconds")]
