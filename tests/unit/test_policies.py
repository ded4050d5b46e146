"""Policies choose versions by their numbers."""

import pytest

from service.policies import parse_policies


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("all", {1, 2, 10}),
        ("latest:1", {10}),
        ("latest:2", {2, 10}),
        ("latest:9", {1, 2, 10}),
        ("specific:1,3", {1}),
        ("specific:3", set()),
    ],
)
def test_a_policy_chooses_of_the_versions_that_there_are(policy, chosen):
    assert parse_policies(policy).choose("any", [10, 1, 2]) == chosen
    assert parse_policies(policy).choose("any", []) == set()


def test_a_model_may_have_a_policy_of_its_own():
    policies = parse_policies("latest:1; a=all; b=specific:2")
    assert policies.choose("a", [1, 2, 3]) == {1, 2, 3}
    assert policies.choose("b", [1, 2, 3]) == {2}
    assert policies.choose("c", [1, 2, 3]) == {3}


@pytest.mark.parametrize("text", ["", "some", "latest", "latest:0", "latest:-1", "specific:", "specific:1,,2", "all;a"])
def test_what_is_no_policy_is_refused_by_name(text):
    with pytest.raises(ValueError, match="is no version policy"):
        parse_policies(text)
