"""Strict JAX for every test: no silent promotion, no silent broadcasting."""

import os
import pathlib

from experiments.launch.xla_flags import with_shared_calls

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.update(with_shared_calls(os.environ))  # as launches do

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

#: Compiled programs outlive a session: most of its time would go into them.
CACHE = pathlib.Path(
    os.environ.get("NASJAX_TEST_CACHE", "~/.cache/nasjax/test-xla")
).expanduser()
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


#: Files whose tests take seconds: `pytest -m quick`, two minutes on two cores.
QUICK = frozenset(
    (
        *("test_analysis", "test_config_names", "test_genotype"),
        *("test_genotypes", "test_house", "test_losses", "test_method_check"),
        *("test_relaxations", "test_report_cells", "test_report_svg", "test_rivals"),
        *("test_rows", "test_schedules", "test_study_table", "test_tabular"),
        *("test_teachers", "test_docs"),
    )
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in QUICK or item.path.suffix == ".md":
            item.add_marker(pytest.mark.quick)


def pytest_configure(config: pytest.Config) -> None:
    # JAX does not write an entry in one move; a process that reads half of one
    # warns and compiles.
    harmless = "ignore:Error (reading|writing) persistent compilation cache"
    config.addinivalue_line("filterwarnings", harmless)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture(scope="session")
def compilation_cache() -> str:
    """``--compilation_cache`` of launches, shared with the tests' own."""
    return str(CACHE)
