"""Schemathesis over the whole public API: no crash, and nothing that the document does not tell."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

from doorbuster.gateway import openapi

EXAMPLES = 12
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


def without_rights() -> dict[str, Any]:
    """The document as it is for somebody who may do everything; test_rights.py is about the others."""
    document = openapi.document()
    for operations in document["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    return document


SCHEMA = schemathesis.openapi.from_dict(without_rights())


@pytest.fixture(scope="module")
def admin(people):
    """An admin may call everything, so every call reaches its handler."""
    return people["admin"]


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_one_that_the_document_tells_of(case, admin) -> None:
    headers = {"Authorization": f"Bearer {admin.token}"}
    response = case.call(base_url=admin.url, headers=headers, timeout=20)
    case.validate_response(response, checks=CHECKS)
