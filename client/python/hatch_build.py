# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Builds what the package takes from the contract: the messages and stubs, the capture rules and the service config."""

import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ContractHook(BuildHookInterface[Any]):
    """Runs before every wheel, also an editable one; a source distribution carries the contract instead."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Writes the files named in `artifacts`."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        packed = root / "contract"
        proto = packed / "proto" if packed.exists() else root.parent.parent / "proto"
        capture = packed / "capture.json" if packed.exists() else root.parent / "capture.json"
        package = root / "src" / "cloakroom"
        compile_protos(proto, package.parent)
        (package / "v1" / "__init__.py").write_text(f'"""Messages and stubs of {proto.name}/cloakroom/v1."""\n')
        shutil.copyfile(capture, package / "capture.json")
        shutil.copyfile(proto / "service_config.json", package / "service_config.json")


def compile_protos(proto: Path, out: Path) -> None:
    """Compiles every .proto file of the contract into `out`."""
    from importlib.resources import files  # noqa: PLC0415

    from grpc_tools import protoc  # noqa: PLC0415

    sources = sorted(str(path) for path in (proto / "cloakroom" / "v1").glob("*.proto"))
    if not sources:
        raise FileNotFoundError(f"no .proto files in {proto}: build from a checkout or from a source distribution")
    shutil.rmtree(out / "cloakroom" / "v1", ignore_errors=True)
    well_known = str(files("grpc_tools") / "_proto")
    flags = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{proto}", f"-I{well_known}", *flags, *sources]) != 0:
        raise RuntimeError(f"the .proto files in {proto} do not compile; see above")
