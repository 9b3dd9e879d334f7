"""Small trainings, and files of them."""

import numpy as np

import fusedstep as fs
from sealed import parts_of, sealed

F32 = np.float32


def save(path, opt, **options):
    fs.checkpoint.save(path, opt=opt, **options)
    return fs.load(path)


def trained(params, rule="adam", **options):
    opt = fs.create(rule, params, **options)
    opt.step({name: np.full(a.shape, 0.5, a.dtype) for name, a in opt.params.items()})
    return opt


def zeros(**shapes):
    return {name: np.zeros(shape, F32) for name, shape in shapes.items()}


def changed(path, change):
    """The file with another document, and checksums that are right."""
    header, document, data = parts_of(path.read_bytes())
    change(document)
    path.write_bytes(sealed(header, document, data))
