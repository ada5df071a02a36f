"""Names of this package in the registries of BasicSR, beside those of a project."""

import pytest
from basicsr.utils import registry as basicsr_registries
from basicsr.utils.registry import Registry

from quantnas_sr.archs.rfdn_arch import RFDN
from quantnas_sr.registration import SharedRegistry, is_ours


class OldRegistry(Registry):
    """As before BasicSR 1.4.0, which brought suffixes."""

    def _do_register(self, name, obj):
        assert name not in self._obj_map
        self._obj_map[name] = obj

    def register(self, obj=None):
        if obj is None:
            return lambda cls: self.register(cls) or cls
        self._do_register(obj.__name__, obj)

    def get(self, name):
        if name not in self._obj_map:
            raise KeyError(name)
        return self._obj_map[name]


def theirs():
    return type("RFDN", (), {"__module__": "bsrn.archs.rfdn_arch"})


@pytest.fixture(params=[Registry, OldRegistry], ids=["with suffixes", "before 1.4.0"])
def registry(request):
    return request.param("arch")


def test_a_name_that_is_free_is_ours_and_so_is_the_one_with_our_suffix(registry):
    shared = SharedRegistry(registry)
    assert shared.register()(RFDN) is RFDN
    assert registry.get("RFDN") is registry.get("RFDN_quantnas") is RFDN
    assert "RFDN" in registry and shared.names() == ["RFDN"]


def test_a_name_that_is_taken_stays_the_projects(registry):
    project = theirs()
    registry.register(project)
    shared = SharedRegistry(registry)
    shared.register(RFDN)
    assert registry.get("RFDN") is project and registry.get("RFDN_quantnas") is RFDN
    assert sorted(shared.names()) == ["RFDN", "RFDN_quantnas"]


@pytest.mark.parametrize("as_decorator", [True, False])
def test_a_project_that_comes_later_gets_its_name(registry, as_decorator):
    shared = SharedRegistry(registry)
    shared.register(RFDN)
    project = theirs()
    registry.register()(project) if as_decorator else registry.register(project)
    assert registry.get("RFDN") is project and registry.get("RFDN_quantnas") is RFDN
    with pytest.raises(AssertionError):  # two classes of the project are the project's business, as before
        registry.register(theirs())


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_class_that_basicsr_registers_with_its_suffix_is_what_the_name_says(ours_first):
    registry = Registry("arch")
    shared, upstream = SharedRegistry(registry), theirs()
    if ours_first:
        shared.register(RFDN)
    registry.register(upstream, suffix="basicsr")
    if not ours_first:
        shared.register(RFDN)
    assert registry.get("RFDN") is upstream and registry.get("RFDN_quantnas") is RFDN


def test_other_names_are_registered_as_before(registry):
    SharedRegistry(registry).register(RFDN)
    other = type("Other", (), {})
    registry.register(other)
    assert registry.get("Other") is other and registry.get("RFDN") is RFDN


def test_a_look_up_follows_that_of_the_registry_and_prints_nothing(capsys):
    registry = Registry("arch")
    upstream = type("SRVGGNetCompact", (), {})
    registry.register(upstream, suffix="basicsr")
    shared = SharedRegistry(registry)
    assert shared.find("SRVGGNetCompact") is upstream and "SRVGGNetCompact" in shared
    assert shared.find("SRVGGNet") is None and shared.find(5) is None and shared.find(None) is None
    assert shared.names() == ["SRVGGNetCompact"]
    assert capsys.readouterr().out == ""


def test_what_is_ours_is_told_by_its_class_or_what_it_derives_from():
    from quantnas_sr.archs.derived_arch import QuantNASBasic

    def network(**options):
        return None

    assert is_ours(QuantNASBasic) and is_ours(type("Own", (QuantNASBasic,), {"__module__": "project"}))
    assert not is_ours(theirs()) and not is_ours(network) and not is_ours(None)


@pytest.mark.parametrize("kind", ["ARCH", "MODEL", "DATASET", "LOSS"])
def test_every_class_of_this_package_has_an_unambiguous_name(kind):
    registry = getattr(basicsr_registries, f"{kind}_REGISTRY")
    ours = {name: obj for name, obj in registry if obj.__module__.startswith("quantnas_sr.")}
    assert ours
    for name, obj in ours.items():
        assert registry.get(f"{name.removesuffix('_quantnas')}_quantnas") is obj
