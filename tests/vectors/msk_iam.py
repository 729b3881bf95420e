"""Prints the vectors of msk_iam.json: tokens that Amazon's signer makes, at times that are given.

    python3 -m venv /tmp/signer
    /tmp/signer/bin/pip install aws-msk-iam-sasl-signer-python==1.0.2
    /tmp/signer/bin/python tests/vectors/msk_iam.py > tests/vectors/msk_iam.json

The credentials are made up.
"""

import base64
import datetime
import importlib.metadata
import json
from unittest import mock

import botocore.auth
from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
from botocore.credentials import CredentialProvider, Credentials

CASES = [
    ("eu-central-1", 1_795_708_800, "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None),
    ("us-east-1", 0, "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "Fwo/session+token=="),
    ("cn-north-1", 951_782_399, "ASIA~_.-", " secret with spaces ", "a b&c=d%e~f*(ü)"),
]


class Given(CredentialProvider):
    def __init__(self, credentials):
        super().__init__()
        self.credentials = credentials

    def load(self):
        return self.credentials


def vector(region, now_s, key_id, secret, session_token):
    now = datetime.datetime.fromtimestamp(now_s, datetime.timezone.utc)
    provider = Given(Credentials(key_id, secret, session_token))
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda: now):
        token, expires_at_ms = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(
            region, provider
        )
    return {
        "region": region,
        "now_s": now_s,
        "key_id": key_id,
        "secret": secret,
        "session_token": session_token,
        "user_agent": "aws-msk-iam-sasl-signer-python/"
        + importlib.metadata.version("aws-msk-iam-sasl-signer-python"),
        "token": token,
        "url": base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode(),
        "expires_at_ms": expires_at_ms,
    }


print(json.dumps([vector(*case) for case in CASES], indent=2, ensure_ascii=False))
