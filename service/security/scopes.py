"""What a token allows: groups of methods, on models by pattern. A method that is in no group is allowed to nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from types import MappingProxyType

SCOPE_PATTERN = r"(translate|read|manage|load-test)(?::([a-z0-9*._-]{1,64}))?"


class Group(Enum):
    """Methods that are allowed together."""

    TRANSLATE = "translate"
    READ = "read"
    MANAGE = "manage"
    LOAD_TEST = "load-test"


_INFERENCE = "/inference.GRPCInferenceService/"
_LOAD_TEST = "/stepstream.v1.LoadTestService/"
_MANAGEMENT = "/stepstream.v1.ModelManagementService/"
_TRANSLATION = "/stepstream.v1.TranslationService/"
METHODS: Mapping[str, Group] = MappingProxyType(
    {
        f"{_TRANSLATION}Translate": Group.TRANSLATE,
        f"{_TRANSLATION}StreamTranslate": Group.TRANSLATE,
        f"{_TRANSLATION}TranslateInteractive": Group.TRANSLATE,
        f"{_TRANSLATION}Score": Group.TRANSLATE,
        f"{_TRANSLATION}ListModels": Group.READ,
        f"{_TRANSLATION}GetModel": Group.READ,
        f"{_LOAD_TEST}StreamEmptySteps": Group.LOAD_TEST,
        f"{_MANAGEMENT}LoadModel": Group.MANAGE,
        f"{_MANAGEMENT}UnloadModel": Group.MANAGE,
        f"{_MANAGEMENT}SetLabel": Group.MANAGE,
        f"{_MANAGEMENT}ListVersions": Group.MANAGE,
        f"{_INFERENCE}ModelInfer": Group.TRANSLATE,
        f"{_INFERENCE}ModelStreamInfer": Group.TRANSLATE,
        f"{_INFERENCE}ServerLive": Group.READ,
        f"{_INFERENCE}ServerReady": Group.READ,
        f"{_INFERENCE}ServerMetadata": Group.READ,
        f"{_INFERENCE}ModelReady": Group.READ,
        f"{_INFERENCE}ModelMetadata": Group.READ,
        f"{_INFERENCE}ModelConfig": Group.READ,
        f"{_INFERENCE}ModelStatistics": Group.READ,
        f"{_INFERENCE}RepositoryIndex": Group.READ,
        f"{_INFERENCE}RepositoryModelLoad": Group.MANAGE,
        f"{_INFERENCE}RepositoryModelUnload": Group.MANAGE,
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Group.READ,
    }
)


@dataclass(frozen=True)
class Scope:
    """One group of methods on the models whose name the pattern fits; * in it stands for any characters."""

    group: Group
    models: str = "*"

    def allows(self, group: Group, model: str) -> bool:
        return group is self.group and fnmatchcase(model, self.models)


def parse_scope(text: str) -> Scope:
    """A scope such as "read", "translate:*" or "translate:en-de-*"; raises ValueError."""
    match = re.fullmatch(SCOPE_PATTERN, text)
    if match is None:
        groups = "translate, read, manage or load-test"
        raise ValueError(f"{text!r} is no scope: one is {groups}, with :PATTERN of models after it")
    return Scope(Group(match[1]), match[2] or "*")
