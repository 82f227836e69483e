"""Encoders for pathology by name: published sizes, checkpoints in both layouts, pooling, statistics, and the hub."""

from __future__ import annotations

import http.server
import json
import threading

import numpy as np
import pytest

from chowder import preflight
from chowder.features import identity
from chowder.features.encoders import base, families, hub, networks, pathology, registry
from chowder.features.encoders.weights import fill_model
from chowder.files import UserError

torch = pytest.importorskip("torch")
functional = torch.nn.functional

#: Length of a feature vector and millions of parameters, as the model cards and papers say.
PUBLISHED = {
    "uni": (1024, 303),
    "uni2_h": (1536, 681),
    "virchow": (2560, 632),
    "virchow2": (2560, 632),
    "gigapath": (1536, 1135),
    "h_optimus_0": (1536, 1135),
    "h_optimus_1": (1536, 1135),
    "phikon": (768, 86),
    "phikon_v2": (1024, 304),
    "hibou_b": (768, 86),
    "hibou_l": (1024, 304),
    "midnight": (3072, 1136),
}
SMALL = {"depth": 2, "embed_dim": 24, "num_heads": 2}


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_the_network_has_the_published_size(name):
    """Its forward pass on torch's meta device needs no memory and no weights."""
    dim, millions = PUBLISHED[name]
    network = networks.NETWORKS[name]
    with torch.device("meta"):
        model = pathology.pooled(pathology.skeleton(name), network.pooling).eval()
        assert tuple(model(torch.zeros(2, 3, 224, 224)).shape) == (2, dim) and dim == network.dim
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=1.5)


def test_every_network_has_a_family():
    assert set(networks.NETWORKS) == set(PUBLISHED)
    assert all(families.family_of(name) == "chowder.features.encoders.pathology:pathology" for name in PUBLISHED)


# ---- checkpoints in the layout of transformers, run by a plain forward pass written here -----------------------------


def random_state(name, seed=0):
    """Tensors of a small network under the names of transformers, and what its forward pass needs to know."""
    generator = torch.Generator().manual_seed(seed)
    dim, patch = SMALL["embed_dim"], 14 if name in ("hibou_b", "midnight") else 16
    registers, swiglu = 4 * (name == "hibou_b"), name == "midnight"
    hidden = int(dim * 2.66667 * 2) // 2 if swiglu else 4 * dim

    def made(*shape, scale=0.1):
        return scale * torch.randn(*shape, generator=generator)

    state = {
        "embeddings.cls_token": made(1, 1, dim),
        "embeddings.position_embeddings": made(1, (224 // patch) ** 2 + 1, dim),
        "embeddings.patch_embeddings.projection.weight": made(dim, 3, patch, patch),
        "embeddings.patch_embeddings.projection.bias": made(dim),
        "layernorm.weight": 1 + made(dim),
        "layernorm.bias": made(dim),
    }
    if registers:
        state["embeddings.register_tokens"] = made(1, registers, dim)
    if name != "phikon":
        state["embeddings.mask_token"] = made(1, dim)
    for layer in range(SMALL["depth"]):
        at = f"encoder.layer.{layer}."
        first, second = ("layernorm_before", "layernorm_after") if name == "phikon" else ("norm1", "norm2")
        linear = {f"attention.attention.{part}": (dim, dim) for part in ("query", "key", "value")}
        linear["attention.output.dense"] = (dim, dim)
        if name == "phikon":
            linear |= {"intermediate.dense": (hidden, dim), "output.dense": (dim, hidden)}
        elif swiglu:
            linear |= {"mlp.weights_in": (2 * hidden, dim), "mlp.weights_out": (dim, hidden)}
        else:
            linear |= {"mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden)}
        for part, shape in linear.items():
            state |= {f"{at}{part}.weight": made(*shape, scale=0.3), f"{at}{part}.bias": made(shape[0])}
        for part in (first, second):
            state |= {f"{at}{part}.weight": 1 + made(dim), f"{at}{part}.bias": made(dim)}
        if name != "phikon":
            state |= {f"{at}layer_scale{i}.lambda1": 1 + made(dim) for i in (1, 2)}
    return state, patch, registers, swiglu


def plain_tokens(name, state, patch, registers, swiglu, x):
    """Tokens after the last layer, as transformers' ViTModel and Dinov2Model compute them."""
    eps, dim, heads = 1e-12 if name == "phikon" else 1e-6, SMALL["embed_dim"], SMALL["num_heads"]

    def linear(key, value):
        return value @ state[f"{key}.weight"].T + state[f"{key}.bias"]

    def norm(key, value):
        return functional.layer_norm(value, (dim,), state[f"{key}.weight"], state[f"{key}.bias"], eps)

    key = "embeddings.patch_embeddings.projection"
    patches = (
        functional.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"], stride=patch).flatten(2).transpose(1, 2)
    )
    tokens = torch.cat([state["embeddings.cls_token"].expand(len(x), -1, -1), patches], dim=1)
    tokens = tokens + state["embeddings.position_embeddings"]
    if registers:
        more = state["embeddings.register_tokens"].expand(len(x), -1, -1)
        tokens = torch.cat([tokens[:, :1], more, tokens[:, 1:]], dim=1)
    for layer in range(SMALL["depth"]):
        at = f"encoder.layer.{layer}."
        first, second = ("layernorm_before", "layernorm_after") if name == "phikon" else ("norm1", "norm2")
        scales = [state.get(f"{at}layer_scale{i}.lambda1", 1.0) for i in (1, 2)]
        h = norm(at + first, tokens)
        q, k, v = (
            linear(f"{at}attention.attention.{part}", h).unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / (dim // heads) ** 0.5, dim=-1)
        tokens = tokens + scales[0] * linear(f"{at}attention.output.dense", (weights @ v).transpose(1, 2).flatten(2))
        h = norm(at + second, tokens)
        if name == "phikon":
            h = linear(f"{at}output.dense", functional.gelu(linear(f"{at}intermediate.dense", h)))
        elif swiglu:
            gate, value = linear(f"{at}mlp.weights_in", h).chunk(2, dim=-1)
            h = linear(f"{at}mlp.weights_out", functional.silu(gate) * value)
        else:
            h = linear(f"{at}mlp.fc2", functional.gelu(linear(f"{at}mlp.fc1", h)))
        tokens = tokens + scales[1] * h
    return norm("layernorm", tokens)


@pytest.mark.parametrize("name", ["phikon", "phikon_v2", "hibou_b", "midnight"])
def test_a_checkpoint_of_transformers_gives_what_its_own_network_gives(name, tmp_path):
    state, patch, registers, swiglu = random_state(name)
    more = {"mlp_ratio": 2.66667 * 2} if swiglu else {}
    model = pathology.skeleton(name, **SMALL, **more).eval()
    converted = pathology.from_transformers({f"dinov2.{key}": value for key, value in state.items()}, tmp_path)
    fill_model(model, converted, tmp_path)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    network = networks.NETWORKS[name]
    with torch.inference_mode():
        found = pathology.pooled(model, network.pooling)(x)
        tokens = plain_tokens(name, state, patch, registers, swiglu, x)
    expected = tokens[:, 0]
    if network.pooling == "class_mean":
        expected = torch.cat([expected, tokens[:, 1 + registers :].mean(dim=1)], dim=1)
    assert torch.allclose(found, expected, atol=2e-5)


def test_tensors_that_do_not_belong_there_are_named(tmp_path):
    state = random_state("phikon")[0]
    with pytest.raises(UserError, match=r"tensor encoder\.layer\.0\.strange is not known"):
        pathology.from_transformers(state | {"encoder.layer.0.strange": torch.zeros(1)}, tmp_path / "w.pt")
    short = {key: value for key, value in state.items() if key != "encoder.layer.1.attention.attention.key.weight"}
    with pytest.raises(UserError, match=r"blocks\.1\.attn\.qkv\.weight lacks a query, key or value"):
        pathology.from_transformers(short, tmp_path / "w.pt")


# ---- from a weight file to features ----------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Networks of a few thousand parameters under the true names."""
    skeleton = pathology.skeleton
    monkeypatch.setattr(pathology, "skeleton", lambda name, **other: skeleton(name, **SMALL | {"mlp_ratio": 4} | other))


def saved(name, path, seed=0):
    torch.manual_seed(seed)
    model = pathology.skeleton(name).eval()
    for key, parameter in model.named_parameters():
        if key.endswith("gamma"):  # layers that start at 1e-5 would hide what the tiles are
            torch.nn.init.ones_(parameter)
    torch.save(model.state_dict(), path)
    return model


@pytest.mark.parametrize("name", ["uni", "uni2_h", "virchow2", "h_optimus_0"])
def test_features_are_those_of_the_authors_preprocessing_written_out(name, small, tmp_path):
    model = saved(name, tmp_path / "w.bin")
    encoder = registry.load(name, str(tmp_path / "w.bin"), "cpu", "fp32", "auto")
    tiles = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    mean, std = (torch.tensor(values) for values in networks.NETWORKS[name].statistics)
    images = ((tiles.float() / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        tokens = model.forward_features(images)
    expected = tokens[:, 0]
    if name == "virchow2":  # its card: the class token and the mean of tokens 5 onwards
        expected = torch.cat([expected, tokens[:, 5:].mean(dim=1)], dim=1)
    assert encoder.normalisation == "none" and encoder.dim == expected.shape[1]
    assert torch.allclose(encoder.embed(tiles), expected, atol=1e-4)


def test_statistics_and_pooling_of_ones_own_take_effect_and_are_part_of_the_identity(small, tmp_path):
    saved("uni", tmp_path / "w.bin")
    item = identity.Item("a", str(tmp_path / "w.bin"), str(tmp_path / "w.bin"))
    tiles = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    given = [{}, {"mean": (0.5,) * 3, "std": (0.5,) * 3}, {"pooling": "mean"}, {"pooling": "class_mean"}]
    made = [registry.load("uni", str(tmp_path / "w.bin"), "cpu", "fp32", "none", **more) for more in given]
    assert [encoder.dim for encoder in made] == [24, 24, 24, 48]
    features = [encoder.embed(tiles) for encoder in made]
    assert not torch.allclose(features[0], features[1]) and not torch.allclose(features[0], features[2])
    assert torch.allclose(features[3], torch.cat([features[0], features[2]], dim=1), atol=1e-5)
    assert len({identity.feature_key(item, encoder) for encoder in made}) == 4
    with pytest.raises(UserError, match=r"embedding\.mean and embedding\.std of uni: give both"):
        registry.load("uni", str(tmp_path / "w.bin"), "cpu", mean=(0.5,) * 3)
    with pytest.raises(UserError, match="has no tokens"):
        registry.load("efficientnet_lite0", device="cpu", pooling="mean")


def test_auto_stretches_for_the_papers_resnets_alone(tmp_path, small):
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "r.pth")
    assert registry.load("resnet18", str(tmp_path / "r.pth"), "cpu", normalisation="auto").normalisation == "nikitenko"
    assert registry.load("efficientnet_lite0", None, "cpu", normalisation="auto").normalisation == "none"


def test_a_file_for_a_timm_model_needs_statistics_unless_there_is_one_answer(tmp_path):
    """Published weights of vit_small_patch16_224 were trained with 0.5 and with ImageNet's; a file may be either."""
    import timm

    path = tmp_path / "w.pth"
    torch.save(timm.create_model("resnetv2_50x1_bit").state_dict(), path)
    assert registry.load("timm:resnetv2_50x1_bit", str(path), "cpu").mean == (0.5,) * 3
    torch.save(timm.create_model("vit_small_patch16_224").state_dict(), path)
    with pytest.raises(UserError, match=r"mean and std .* are not known: give embedding\.mean"):
        registry.load("timm:vit_small_patch16_224", str(path), "cpu")
    own = registry.load("timm:vit_small_patch16_224", str(path), "cpu", mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    assert (own.mean, own.std) == ((0.1, 0.2, 0.3), (1, 2, 3))


def test_a_local_folder_of_timm_needs_statistics_in_its_config(tmp_path):
    import timm

    model = timm.create_model("mobilenetv3_small_050", num_classes=0)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    config = {"architecture": "mobilenetv3_small_050", "num_classes": 0, "num_features": 1024}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="mean and std"):
        registry.load(f"timm:local-dir:{tmp_path}", None, "cpu")
    config["pretrained_cfg"] = {"mean": [0.7, 0.6, 0.7], "std": [0.2, 0.2, 0.2], "input_size": [3, 224, 224]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    encoder = registry.load(f"timm:local-dir:{tmp_path}", None, "cpu", "fp32")
    assert (encoder.mean, encoder.std) == ((0.7, 0.6, 0.7), (0.2, 0.2, 0.2))
    tiles = torch.zeros((1, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model.eval()(base.normalise(tiles, "nikitenko", encoder.mean, encoder.std))
    assert torch.allclose(encoder.embed(tiles), expected, atol=1e-4)


# ---- the hub ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub on loopback; ``answers[path]`` is the status of an address, 404 otherwise."""
    from huggingface_hub import constants

    answers, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(answers.get(self.path, 404))
            self.end_headers()

        def log_message(self, *_):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.server_address[1]}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(key, raising=False)
    yield answers, asked
    listening.shutdown()


SAFE, BIN = (f"/MahmoodLab/UNI/resolve/main/{file}" for file in hub.FILES)


def test_what_is_wrong_with_the_weights_of_the_hub_is_told_apart(server, monkeypatch):
    answers, asked = server
    for status in (200, 302):
        answers |= {SAFE: 404, BIN: status}
        hub.check("uni", "MahmoodLab/UNI")
    answers |= {SAFE: 401, BIN: 401}
    with pytest.raises(UserError, match=r"gated or does not exist .*accept its terms and set HF_TOKEN.*weights\.uni"):
        hub.check("uni", "MahmoodLab/UNI")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    answers |= {SAFE: 403, BIN: 403}
    with pytest.raises(UserError, match="accept its terms with the account of your token") as error:
        hub.check("uni", "MahmoodLab/UNI")
    assert asked[-1][1] == "Bearer hf_secret" and "hf_secret" not in str(error.value)
    answers |= {SAFE: 404, BIN: 404}
    with pytest.raises(UserError, match=r"holds none of model\.safetensors, pytorch_model\.bin"):
        hub.check("uni", "MahmoodLab/UNI")
    answers |= {SAFE: 503, BIN: 503}
    text, certain = preflight.weights("uni", "")
    assert "HTTP 503" in text and certain
    assert preflight.weights("uni", SAFE) == ("", True)


def test_offline_on_purpose_and_no_network_are_told_apart(server, monkeypatch):
    from huggingface_hub import constants

    _, asked = server
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set and MahmoodLab/UNI is not in the hub's cache"):
        hub.check("uni", "MahmoodLab/UNI")
    assert not asked
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"the hub cannot be reached \(ConnectionError\)"):
        hub.check("uni", "MahmoodLab/UNI")


def test_weights_in_the_cache_are_taken_without_a_network(server, small, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "hub" / "models--MahmoodLab--UNI"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    saved("uni", folder / "snapshots" / "abc" / "pytorch_model.bin")
    hub.check("uni", "MahmoodLab/UNI")
    encoder = registry.load("uni", None, "cpu", "fp32", "auto")
    assert np.isfinite(encoder.embed(np.zeros((1, 224, 224, 3), np.uint8)).numpy()).all()


def test_the_schema_knows_every_encoder_by_name():
    import re
    from pathlib import Path

    import yaml

    schema = Path(networks.__file__).parents[4] / "schemas" / "config.schema.yaml"
    pattern = yaml.safe_load(schema.read_text())["properties"]["encoders"]["items"]["pattern"]
    assert all(re.fullmatch(pattern, name) for name in families.FAMILIES if name != "timm")
