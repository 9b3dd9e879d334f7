"""Settings and fixtures that every test shares."""

import hypothesis
import pytest

import lanes
from cuda_libraries import library  # noqa: F401
from emulated_cuda import emulated, emulated_module  # noqa: F401 - fixtures
from fusedstep import _core
from native_tree import native_tree  # noqa: F401

# Failed assertions of these show their values too.
pytest.register_assert_rewrite(
    "narrow_modes", "optax_runs", "optimizers", "support_proofs", "torch_runs", "ways_to_step"
)

hypothesis.settings.register_profile("fusedstep", deadline=None, print_blob=True)
hypothesis.settings.load_profile("fusedstep")


@pytest.hookimpl(tryfirst=True)  # before -m and -k choose
def pytest_collection_modifyitems(items):
    lanes.mark(items)
    for item in items:
        if "native_tree" in item.fixturenames:  # else another worker waits for the build
            item.add_marker(pytest.mark.xdist_group("native"))


@pytest.fixture(autouse=True)
def _leave_settings_alone():
    """Whatever a test does to instruction set and threads ends with it."""
    isa, threads = _core.isa(), _core.requested_threads()
    yield
    _core.use_isa(isa)
    _core.set_thread_limit(threads)
