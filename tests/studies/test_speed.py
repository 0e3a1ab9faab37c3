"""Speed: folding changes no answer, forms agree, the table says what was measured and is kept beside the records."""

from __future__ import annotations

import copy
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from fercore.backbones.ir50 import IR50
from fercore.backbones.mobilefacenet import MobileFaceNet
from fercore.backbones.resnet import ResNet18
from fercore.errors import ParameterError
from fercore.figures import pcda as figures_pcda
from fercore.papers.pcda import PCDA
from fercore.studies import audit, speed


def trained(network: nn.Module) -> nn.Module:
    """Batch norms that have seen something, so that folding them has something to do."""
    torch.manual_seed(0)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, 48, 48) * 2 + 1)
    return network.eval()


def small() -> PCDA:
    return trained(PCDA(5, backbone=IR50(8), dimensions=24, heads=3, side=48))


@pytest.mark.parametrize(
    "network", [IR50(8), ResNet18(8, "small", 1), ResNet18(8), MobileFaceNet(48)], ids=lambda n: type(n).__name__
)
def test_folding_changes_no_answer_and_takes_norms_away(network: nn.Module) -> None:
    network, images = trained(network), torch.randn(2, 3, 48, 48)
    folded = speed.folded(network)
    with torch.no_grad():
        assert torch.allclose(network(images), folded(images), rtol=1e-4, atol=1e-5)

    def norms(n: nn.Module) -> int:
        return sum(isinstance(part, nn.BatchNorm2d) for part in n.modules())

    assert norms(folded) < norms(network), "some are folded"
    assert not folded.training and norms(network) > 0, "the network itself is left as it was"


@pytest.mark.parametrize("form", ["eager", "folded"])
def test_forms_give_the_same_answers(form: str) -> None:
    network, images = small(), torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        plain = network(images).logits
    assert torch.allclose(speed.ready(network, form)(images).logits, plain, rtol=1e-4, atol=1e-5)
    half = speed.ready(network, form, "bf16")(images).logits
    assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), plain, atol=0.1)
    assert next(network.parameters()).dtype == torch.float32, "the network itself is left as it was"


def test_a_linear_layer_as_a_convolution_gives_the_same_and_copies_nothing() -> None:
    torch.manual_seed(0)
    network = nn.ModuleDict({"own": nn.Linear(6, 4), "bare": nn.Linear(6, 4, bias=False)})
    network["attention"] = nn.MultiheadAttention(6, 2)  # reads the weights of a layer derived from a linear one
    changed = speed.pointwise(copy.deepcopy(network))
    tokens = torch.randn(2, 5, 6)
    for name in ("own", "bare"):
        for given in (tokens, tokens[:, 0], tokens[0, 0], tokens[None]):
            assert torch.allclose(changed[name](given), network[name](given), atol=1e-6), name
        assert isinstance(changed[name], speed.Pointwise) and isinstance(network[name], nn.Linear)
    assert isinstance(changed["attention"].out_proj, nn.Linear)
    as_map = tokens.transpose(1, 2)[:, :, None]
    assert as_map.is_contiguous(memory_format=torch.channels_last) and as_map.data_ptr() == tokens.data_ptr()
    assert changed["own"](tokens).is_contiguous(), "tokens again, in order"


@pytest.mark.parametrize(
    ("form", "precision", "expected"),
    [("eager", "fp32", nn.Linear), ("folded", "fp32", speed.Pointwise), ("folded", "bf16", nn.Linear)],
)
def test_where_linear_layers_become_convolutions(form: str, precision: str, expected: type) -> None:
    seen: list[type] = []

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(type(self.linear))
            return self.linear(images.flatten(2).transpose(1, 2))

    speed.ready(Layer(), form, precision)(torch.randn(2, 3, 4, 4))
    assert seen == [expected]


@pytest.mark.parametrize("before", [False, True])
def test_convolutions_are_searched_in_compiled_networks_and_nowhere_else(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    class Layer(nn.Conv2d):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.benchmark)
            return super().forward(images)

    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
    for form in ("eager", "folded", "compiled"):
        speed.ready(Layer(3, 2, 1), form)(torch.randn(2, 3, 4, 4))
    assert seen == [before, before, True]
    assert torch.backends.cudnn.benchmark == before, "as it was"


def test_wrong_names_are_named() -> None:
    with pytest.raises(ParameterError, match="did you mean 'compiled'"):
        speed.ready(small(), "compile")
    with pytest.raises(ParameterError, match="no precision 'fp8'"):
        speed.ready(small(), "eager", "fp8")


def test_the_median_is_of_calls_after_the_first() -> None:
    calls = []
    assert speed.seconds(lambda: calls.append(1), repeats=3) >= 0 and len(calls) == 4


def test_measurements_and_what_share_of_the_peak_they_are(tmp_path: Path) -> None:
    table = speed.measure(
        {("PCDA", "whole"): small()}, 48, forms=("eager", "folded"), precisions=("fp32",), batches=(1, 2), repeats=1,
        peaks=(64,),
    )  # fmt: skip
    assert list(table.columns) == list(speed.COLUMNS) and len(table) == 4 and (table["milliseconds"] > 0).all()
    table.loc[0, ["milliseconds", "multiply_adds", "peak"]] = [10.0, 2e9, 800.0]
    assert speed.share_of_peak(table)[0] == pytest.approx(0.5), "4 G operations in 10 ms are 400 of 800 G a second"
    speed.keep(table, tmp_path)
    other = table.assign(device="another machine")
    speed.keep(other, tmp_path)
    speed.keep(table.assign(network="another network"), tmp_path)
    speed.keep(table.assign(milliseconds=1.0), tmp_path)
    found = speed.kept("PCDA", root=tmp_path)
    assert len(found) == 8 and (found[found["device"] != "another machine"]["milliseconds"] == 1).all()
    assert len(speed.kept("PCDA", "another network", root=tmp_path)) == 12 and speed.kept("none", root=tmp_path).empty
    assert not list(tmp_path.glob("*.partial"))


def test_milliseconds_are_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "seconds", lambda work, *_: (work(), 0.1)[1])
    words = {"forms": ("eager",), "precisions": ("fp32",), "batches": (1, 2), "repeats": 1, "peaks": (64,)}
    table = speed.measure({("PCDA", "whole"): small()}, 48, **words).set_index("batch")
    assert table["milliseconds"].to_dict() == {1: 100.0, 2: 50.0}


def test_the_peak_is_the_better_of_product_and_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    assert speed.product(sizes=(32,)) > 0 and speed.convolution(sizes=(32,)) > 0
    monkeypatch.setattr(speed, "product", lambda *_: 200.0)
    monkeypatch.setattr(speed, "convolution", lambda *_: 450.0)
    assert speed.limits() == {"peak": 450.0, "product": 200.0}, "a processor may have a slow library for products"
    assert speed.limits(device="cuda")["peak"] == 200.0, "a GPU's convolutions may round to fewer bits"


def test_operations_are_counted_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "seconds", lambda *_: 1e-3)
    assert speed.product(sizes=(100,)) == pytest.approx(2.0)
    assert speed.convolution(sizes=(40,)) == pytest.approx(2e-6 * 10 * 10 * 9 * 28 * 28)


def test_a_form_that_fails_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype == torch.bfloat16:
                raise RuntimeError("no such kernel")
            return x * self.weight

    table = speed.measure({("toy", "whole"): Broken()}, 8, forms=("eager",), batches=(1,), repeats=1, peaks=(64,))
    assert list(table["precision"]) == ["fp32"]
    assert "toy, whole, eager, bf16: not measured: no such kernel" in capsys.readouterr().out


def test_the_committed_measurements_are_whole() -> None:
    table = speed.kept("PCDA", "POSTER")
    assert set(table.columns) == set(speed.COLUMNS) and not table.isna().any().any()
    shares, gpu = speed.share_of_peak(table), speed.on_gpu(table)
    rounded = gpu & (table["precision"] == "fp32")  # cuDNN's convolutions take TF32, which the peak of fp32 is not
    assert (shares > 0).all() and (shares[~rounded] < 1).all(), "nothing is faster than the machine"
    assert 0 < gpu.sum() < len(table)


def test_which_convention_a_printed_number_is_in() -> None:
    assert audit.convention_of(5.5, 5.478) == "multiply-adds" and audit.convention_of(15.7, 7.86) != "multiply-adds"
    with torch.device("meta"):
        network = PCDA(8)
    table = figures_pcda.operations(network).set_index("network")
    assert table.loc["PCDA, image backbone", "printed as"] == "multiply-adds"
    assert table.loc["POSTER", "printed as"] == "two a multiply-add"
    axes = figures_pcda.conventions(table.reset_index())
    assert len(axes.figure.numbers) == len(axes.get_yticks())


def test_figures_of_time() -> None:
    rows = [
        {"network": network, "part": part, "form": form, "precision": "fp32", "batch": batch, "milliseconds": value}
        for network, part, value in (("PCDA", "whole", 9.0), ("PCDA", "image backbone", 5.0),
                                     ("PCDA", "landmark backbone", 1.0), ("POSTER", "whole", 8.0))
        for form in ("eager", "compiled")
        for batch in (1, 16)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    assert len(figures_pcda.speeds(table).axes) == 2
    modules = figures_pcda.modules(table)
    assert (modules["attention and classifier"] == 3.0).all() and len(modules) == 4


def test_the_processor_is_named(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: Some CPU\nflags\t\t: fpu amx_bf16\n\nmodel name\t: Some CPU\n")
    assert speed.processor(tmp_path / "cpuinfo") == "Some CPU with AMX"
    assert speed.processor(tmp_path / "none"), "elsewhere its kind"
