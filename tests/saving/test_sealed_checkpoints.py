"""Fault 27: files with right checksums whose header or document no save would write."""

import json

import numpy as np
import pytest

import fusedstep as fs
from sealed import parts_of, sealed

HUGE = 2**62
DEEP = "[" * 100_000


def optimizer():
    return fs.Adam({"w": np.ones((2, 3), np.float32), "b": np.ones(0, np.float32)}, lr=0.1)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.safetensors"
    fs.checkpoint.save(path, opt=optimizer(), extra={"seen": np.arange(4)})
    return path


def document_with(**changes):
    def change(header, document):  # noqa: ARG001
        document["optimizer"] |= changes
        return document

    return change


def metadata_with(**changes):
    def change(header, document):
        header["__metadata__"] |= changes
        return document

    return change


def without(key):
    def change(header, document):  # noqa: ARG001
        del document["optimizer"][key]
        return document

    return change


def empty_of(shape):
    def change(header, document):
        header["param.b"]["shape"] = shape
        return document

    return change


def no_document(header, document):  # noqa: ARG001
    return DEEP


def no_parameter(header, document):
    del header["param.b"]
    checksums = json.loads(header["__metadata__"]["crc32"])
    del checksums["param.b"]
    header["__metadata__"]["crc32"] = json.dumps(checksums)
    return document


def only_a_list(header, document):  # noqa: ARG001
    return ["a list"]


CHANGES = {
    "no JSON": (no_document, "document: RecursionError"),
    "no mapping": (only_a_list, "document: expected an object"),
    "no checksums": (metadata_with(crc32="{}"), "header: crc32: expected"),
    "checksums that are no JSON": (metadata_with(crc32=DEEP), "header: crc32: expected"),
    "checksums that are no numbers": (
        metadata_with(crc32=json.dumps({"param.w": 3})),
        "header: crc32: expected",
    ),
    "lengths of an empty array": (empty_of([0, HUGE, HUGE]), "shape"),
    "a parameter less": (no_parameter, "parameters: expected the names"),
    "no steps": (without("steps"), "steps: expected dict"),
    "steps of another": (document_with(steps={"v": 1}), "document: KeyError: 'w'"),
    "a rule that is none": (document_with(rule=["adam"]), "rule: expected str"),
    "a flag for a number": (document_with(step_count=True), "step_count: expected int"),
    "groups that are none": (document_with(groups=[3]), "groups.0: expected an object"),
    "no groups": (document_with(groups=[]), "groups: expected the names"),
    "frozen by another name": (document_with(frozen=["v"]), "frozen: expected the names"),
    "axes that are none": (
        document_with(axes={"state.w.exp_avg": [0, 0]}),
        "axes: expected each of 2",
    ),
    "an array that is none": (
        document_with(schedules={"lr": {"__array__": "nothing"}}),
        "document: KeyError: 'nothing'",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_fault_27_a_file_that_lies_is_refused(file, what):
    change, message = CHANGES[what]
    header, document, arrays = parts_of(file.read_bytes())
    document = change(header, document)
    file.write_bytes(sealed(header, document, arrays))
    with pytest.raises(fs.CheckpointError, match=message):
        fs.load(file)


def test_a_file_that_is_sealed_again_is_a_checkpoint(file):
    file.write_bytes(sealed(*parts_of(file.read_bytes())))
    fs.load(file).restore(optimizer())
