"""Tables: splits, scaling, missing cells, conditional draws, and the commands on them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import load_arrays, small
from short import few

import vae_zoo
from vae_zoo.cli import main
from vae_zoo.data import Table
from vae_zoo.data.files.frames import decode, encode, read_frame, write_frame
from vae_zoo.distributions import Columns
from vae_zoo.evaluation.conditional import conditional
from vae_zoo.evaluation.scores import column_scores
from vae_zoo.models import IWAE, VAE, ConditionalVAE, VampVAE
from vae_zoo.testing.subject import quiet_trainer

from .table_cases import CITIES, fitted, people, table, write

pandas = pytest.importorskip("pandas")


def test_a_column_of_one_value_adds_nothing_to_the_bound(tmp_path: Path) -> None:
    data = Table(path=write(tmp_path / "t.csv", "year,age", *[f"2024,{n}" for n in range(20)]))
    px = data.likelihood((2,)).distribution(torch.randn(3, data.likelihood((2,)).param_shape[0]))
    assert torch.equal(px.base_dist.log_prob(torch.zeros(3, 2))[:, 0], torch.zeros(3))
    assert decode(px.sample().numpy(), data.columns)["year"].tolist() == ["2024"] * 3


def test_a_split_knows_its_rows_ids_and_labels(tmp_path: Path) -> None:
    data = table(tmp_path, label_column="smokes", columns=None)
    with pytest.raises(ValueError, match=r"labels in .* are no class"):
        data.load("train")
    whole = Table(path=people(tmp_path, gaps=0.0), id_column="id", label_column="smokes")
    split, frame = whole.load("val"), read_frame(tmp_path / "people.csv")
    assert split.rows is not None
    assert split.ids is not None
    assert split.y is not None
    assert split.ids.tolist() == frame["id"][split.rows.numpy()].tolist()
    assert [whole.classes[y] for y in split.y] == frame["smokes"][split.rows.numpy()].tolist()
    assert whole.num_classes == 2
    assert whole.shape == (5,)


def test_scaling_is_of_numbers_and_dates_only(tmp_path: Path) -> None:
    data = table(tmp_path)
    scaling = data.scaling
    assert scaling is not None
    names = [column["name"] for column in data.columns]
    assert scaling["log"] == [float(names.index("income"))]
    assert (scaling["shift"][0], scaling["scale"][0]) == (0.0, 1.0)
    assert 40 < scaling["shift"][1] < 60
    with pytest.raises(ValueError, match="scaling: column city is a category, which is not scaled"):
        _ = table(tmp_path, scaling={"city": "standard"}).scaling


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["city,age", "paris,3"],
            r"city in row 0 of .*new.csv.* is 'paris', which is none of the .*; set unknown to missing",
        ),
        (["city", "oslo"], r".*new.csv.* has no column age, which the training table has"),
        (["city,age", "oslo,3", "bergen,old"], r"age in row 1 of .*new.csv.* must be a number, got 'old'"),
        (["city,age", "oslo,inf"], r"age in row 0 of .*new.csv.* must be a number, got 'inf'"),
    ],
)
def test_new_rows_that_do_not_fit_are_named_by_column_and_row(rows: list[str], message: str, tmp_path: Path) -> None:
    known = write(tmp_path / "known.csv", "city,age", *[f"{city},{n}" for n, city in enumerate(CITIES * 10)])
    data = Table(path=known, test_path=write(tmp_path / "new.csv", *rows))
    with pytest.raises(ValueError, match=message):
        data.load("test")
    with pytest.raises(ValueError, match=message.partition("; set")[0]) as said:
        encode(read_frame(tmp_path / "new.csv"), data.columns, "new.csv of no data module")
    assert "set unknown" not in str(said.value)


def test_an_unknown_category_is_missing_if_asked(tmp_path: Path) -> None:
    known = write(tmp_path / "known.csv", "city,age", *[f"{city},{n}" for n, city in enumerate(CITIES * 10)])
    new = write(tmp_path / "new.csv", "age,city", "3,paris", "4,oslo")
    x = Table(path=known, test_path=new, unknown="missing").load("test").x
    assert x[0].isnan().tolist() == [True, False]
    assert x[1].tolist() == [1.0, 4.0]


@pytest.mark.parametrize(
    ("lines", "kwargs", "message"),
    [
        (["a,b", *["1,"] * 20], {}, "column b of .* has no value: name it in ignore"),
        (["a,a", *["1,2"] * 20], {}, "has two columns 'a': rename one"),
        (
            ["a,b", *[f"x{n},1" for n in range(20)]],
            {"max_categories": 9},
            "column a of .* has 20 different values in 20",
        ),
        (["a,b", *["1,2"] * 20], {"ignore": ["c"]}, "ignore: .* has no column c, but a, b"),
        (["a,b", *["1,2"] * 20], {"columns": {"c": "count"}}, "columns: .* has no column c, but a, b"),
        (["a,b", *["1,2"] * 20], {"columns": {"a": "text"}}, "columns.a must be one of number, .*, got 'text'"),
        (["a,b", *["1,x"] * 20], {"columns": {"b": "number"}}, "b in row 0 of .* must be a number, got 'x'"),
        (["a,b", "1,", "1,2", "1,x"], {"columns": {"b": "number"}}, "b in row 2 of .* must be a number, got 'x'"),
        (
            ["a,b", *["1,-2"] * 20],
            {"columns": {"b": "count"}},
            "b in row 0 of .* must be a whole number from 0, got '-2'",
        ),
        (["a,b", *["1,x"] * 20], {"columns": {"b": "date"}}, "b of .* must be a date as in 2024-05-31, got 'x'"),
        (["a,b"], {}, "has no rows"),
        ([""], {}, "cannot be read as a table"),
    ],
)
def test_unsuitable_tables_are_refused_in_one_line(
    lines: list[str], kwargs: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.csv", *lines)
    with pytest.raises(ValueError, match=message) as error:
        Table(path=path, **kwargs).load("train")
    assert "\n" not in str(error.value)


@pytest.mark.exhaustive
def test_a_fit_learns_how_columns_depend_on_each_other(tmp_path: Path) -> None:
    """Above the bound of independent columns; rows drawn, filled in and conditioned on have the known dependence."""
    model, data = fitted(tmp_path)
    torch.manual_seed(1)
    drawn = decode(model.sample(2000, mean=False).numpy(), data.columns)
    means = drawn.astype({"age": float}).groupby("city", observed=True)["age"].mean()
    assert means["tromsø"] - means["bergen"] > 20

    row = torch.full(data.shape, float("nan"))
    row[0] = 2.0
    found = conditional(model, row, 1000, num_latents=20000)
    assert (found.x[:, 0] == 2).all()
    assert found.ess > 200
    assert 60 < found.x[:, 1].mean() < 78

    row[0], row[1] = float("nan"), 32.0
    filled = model.impute(row.expand(2, -1).clone(), num_samples=500)
    assert filled[0, 0] == 0
    assert filled[0, 4].isfinite()


def test_a_line_describes_each_column(tmp_path: Path) -> None:
    lines = [f"{n % 5},{'ab'[n % 2]},{'x' if n % 4 else ''},7,yes" for n in range(40)]
    assert Table(path=write(tmp_path / "t.csv", "age,city,kind,year,paid", *lines)).describe() == [
        "age   number",
        "city  category of 2",
        "kind  one value, x, 25.0% missing",
        "year  one value, 7",
        "paid  boolean (yes or not), one value, where draws have others too: name it in ignore",
    ]


def test_conditional_draws_have_the_distribution_of_bayes_rule() -> None:
    """A decoder that ignores the latent but for one category: its posterior is known by counting."""
    torch.manual_seed(0)
    columns = [{"name": "a", "type": "category", "categories": ["x", "y", "z"]}, {"name": "b", "type": "boolean"}]
    model = VAE(
        shape=(2,),
        latent_dim=1,
        likelihood=_of(columns),
        missing=True,
        encoder=small,
        decoder=small,
    ).eval()
    model.decoder = torch.nn.Linear(1, 4)
    with torch.no_grad():
        model.decoder.weight.copy_(torch.tensor([[3.0], [0.0], [4.0], [-4.0]]))
        model.encoder.layers[-1].bias.add_(1.0)  # a poor proposal, which the weights have to correct
    z = torch.randn(200_000, 1)
    px = model.likelihood(model.decoder(z)).complete.base_dist
    joint = px.logits.sigmoid()[:, 0] * px.shares[:, 0].exp()[:, 1]
    exact = joint.mean() / px.logits.sigmoid().mean()
    assert exact - px.shares[:, 0].exp()[:, 1].mean() > 0.2, "the known value tells much about the other"
    found = conditional(model, torch.tensor([float("nan"), 1.0]), 20_000, num_latents=40_000).x
    torch.testing.assert_close((found[:, 0] == 1).float().mean(), exact, atol=0.02, rtol=0)


def test_conditional_draws_are_of_their_class() -> None:
    """As above, where the other value also depends on the class."""
    torch.manual_seed(0)
    columns = [{"name": "a", "type": "category", "categories": ["x", "y"]}, {"name": "b", "type": "boolean"}]
    model = ConditionalVAE(
        shape=(2,), latent_dim=1, num_classes=2, likelihood=_of(columns), missing=True, encoder=small, decoder=small
    ).eval()
    model.decoder = torch.nn.Linear(3, 3)
    with torch.no_grad():
        model.decoder.weight.copy_(torch.tensor([[3.0, 2.0, -2.0], [0.0, 0.0, 0.0], [4.0, 1.0, -1.0]]))
    means = []
    for label in (0, 1):
        px = model.decode(torch.randn(200_000, 1, 1), torch.tensor([label])).complete.base_dist
        positive = px.logits.sigmoid().flatten()
        share = px.shares[..., 0, :].exp().reshape(-1, 2)[:, 1]
        exact = ((positive * share).mean() / share.mean()).detach()
        found = conditional(model, torch.tensor([1.0, float("nan")]), 20_000, label=label, num_latents=40_000).x
        torch.testing.assert_close(found[:, 1].mean(), exact, atol=0.02, rtol=0)
        means.append(float(exact))
    assert abs(means[0] - means[1]) > 0.2, "the classes differ"
    for label, said in ((None, "draws under a label: give class, 0 .. 1"), (2, "class must lie in 0 .. 1, got 2")):
        with pytest.raises(ValueError, match=said):
            conditional(model, torch.tensor([1.0, float("nan")]), 2, label=label)


def test_a_checkpoint_keeps_names_that_look_like_something_else(tmp_path: Path) -> None:
    names = ["2019", "1e3", "no", "null", "true", "2024-01-31", "[a]", ""]
    rows = np.random.default_rng(0).normal(size=(30, len(names)))
    words = pandas.DataFrame({"off": ["1", "no", "null"] * 10})
    pandas.DataFrame(rows, columns=names).join(words).to_csv(tmp_path / "t.csv", index=False)
    data = Table(path=str(tmp_path / "t.csv"), columns={"off": "category"})
    model = VAE(shape=data.shape, likelihood=data.likelihood, missing=True)
    model.save_pretrained(tmp_path / "model")
    assert vae_zoo.load(tmp_path / "model").likelihood.columns == data.columns
    assert [column["name"] for column in data.columns] == [*names, "off"]


def _of(columns: Any) -> Any:
    return partial(Columns, columns=columns)


@pytest.mark.exhaustive
def test_the_commands_fit_predict_and_draw_rows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logged: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = people(tmp_path)
    short = ["--trainer.max_epochs=2", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    given = ["--data=Table", f"--data.path={path}", "--data.id_column=id", "--data.columns.visits=count"]
    main(["fit", "--model=VAE", *given, "--data.scaling.income=log", "--data.ignore=[joined]", *short])
    assert any("smokes  boolean (yes or not)" in line for line in logged)
    checkpoint = str(next(tmp_path.glob("results/VAE_Table/*/checkpoints/last*.ckpt")))
    new = people(tmp_path, num=20, name="new.csv", seed=3)
    main(["predict", f"--ckpt_path={checkpoint}", f"--data.path={new}"])
    scores = pandas.read_csv(next(tmp_path.glob("results/VAE_Table/**/scores.csv")))
    assert scores["id"].tolist() == [f"p{n}" for n in range(20)]
    assert [name for name in scores if name.startswith("log_p_")] == [
        f"log_p_{name}" for name in ("city", "age", "income", "smokes", "visits")
    ]
    main(["sample", f"--ckpt_path={checkpoint}", "--num=30", "--out=synthetic.csv"])
    drawn = read_frame(tmp_path / "synthetic.csv")
    assert drawn.columns.tolist() == ["city", "age", "income", "smokes", "visits"]
    assert set(drawn["city"]) <= set(CITIES)
    assert set(drawn["smokes"]) <= {"no", "yes"}
    assert len(set(drawn["age"])) > 10, "draws, not means"
    assert encode(drawn, vae_zoo.load(checkpoint).likelihood.columns, "t").shape == (30, 5)
    main(["sample", f"--ckpt_path={checkpoint}", "--num=10", "--where", "city=oslo", "--where=age=50", "--out=o.tsv"])
    assert set(read_frame(tmp_path / "o.tsv")["city"]) == {"oslo"}
    assert set(read_frame(tmp_path / "o.tsv")["age"]) == {"50"}
    for wrong, line in (
        (["--where", "town=oslo"], "--where needs COLUMN=VALUE with one of city, age, "),
        (["--where", "city=paris"], "city in --where is 'paris', which is none of the training table's values bergen"),
        (["--out", "a.png"], "rows of a table go to a file that ends in .csv, .tsv, .parquet"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(["sample", f"--ckpt_path={checkpoint}", *wrong])
        assert line in capsys.readouterr().err


@pytest.mark.exhaustive
def test_the_command_fills_missing_cells_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model, data = fitted(tmp_path, epochs=40)
    model.save_pretrained(tmp_path / "model")
    frame = read_frame(data.paths["train"])
    main(["impute", "--ckpt_path=model", "--table=people.csv", "--num_samples=100"])
    filled = read_frame(tmp_path / "people_filled.csv")
    assert filled.columns.tolist() == frame.columns.tolist()
    whole = read_frame(Path(people(tmp_path, name="whole.csv", gaps=0.0)))
    for name in frame.columns:
        known = frame[name] != ""
        assert filled[name][known].tolist() == frame[name][known].tolist()
        assert (filled[name] != "").all()
    gone = (frame["city"] == "").to_numpy()
    assert gone.sum() > 10
    assert set(filled["city"][gone]) <= set(CITIES)
    assert set(filled["visits"][frame["visits"] == ""].map(int)) <= set(range(20))
    write_frame(tmp_path / "people.parquet", pandas.read_csv("people.csv"))
    main(["impute", "--ckpt_path=model", "--table=people.parquet", "--out=d.parquet", "--draws=2", "--num_samples=50"])
    first, second = (pandas.read_parquet(tmp_path / f"d_{n}.parquet") for n in (1, 2))
    assert not first.isna().any().any()
    assert first["age"].tolist() != second["age"].tolist()
    assert len(whole) == len(frame)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["impute", "--ckpt_path=model", "--table=people.csv", "--draws=-1"])
    assert "--draws must be at least 0" in capsys.readouterr().err


def test_known_cells_outside_of_a_logarithm_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{n % 7 or ''},{1 + n % 5}" for n in range(60)]
    path = write(tmp_path / "t.csv", "age,income", *lines)
    short = ["--trainer.max_epochs=1", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    main(["fit", "--model=VAE", "--data=Table", f"--data.path={path}", "--data.scaling.income=log", *short])
    new = write(tmp_path / "new.csv", "age,income", ",-5")
    for more in (
        ["impute", f"--table={new}", "--num_samples=3"],
        ["impute", f"--table={path}", f"--out={path}"],
        ["sample", "--where=income=0", "--out=w.csv"],
        ["sample", "--where=age=1e300", "--out=w.csv"],
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*more, "--ckpt_path=results/VAE_Table/fit_0"])
        said = capsys.readouterr().err
        assert ended.value.code == 2
        assert "column income holds" in said or "must be a number" in said or "must be another file" in said
        assert not (tmp_path / "w.csv").exists()
        assert not (tmp_path / "new_filled.csv").exists()


@pytest.mark.exhaustive
def test_cells_that_do_not_fit_their_row_have_low_scores(tmp_path: Path) -> None:
    model, data = fitted(tmp_path)
    x = data.load("val").x
    x = x[(x[:, 0] == 2) & ~x[:, 1].isnan()]
    wrong = x.clone()
    wrong[:, 1] = 30.0  # an age that is common, but not in this city
    torch.manual_seed(0)
    right, found = (column_scores(model, rows, num_samples=100) for rows in (x, wrong))
    assert (right[:, 1] - found[:, 1]).min() > 3
    assert torch.equal(found.isnan(), x.isnan())


@pytest.mark.exhaustive
def test_new_rows_are_read_by_the_columns_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """New rows may be in another order of columns, with some categories only, or with a column that is empty."""
    monkeypatch.chdir(tmp_path)
    lines = [f"{city},{n}" for n, city in enumerate(CITIES * 10)]
    path = write(tmp_path / "t.csv", "city,age", *lines)
    short = ["--trainer.max_epochs=1", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    main(["fit", "--model=VAE", "--data=Table", f"--data.path={path}", *short])
    checkpoint = str(next(tmp_path.glob("results/VAE_Table/*/checkpoints/last*.ckpt")))
    new = write(tmp_path / "new.csv", "age,city", "7,tromsø", "8,oslo", "9,")
    main(["predict", f"--ckpt_path={checkpoint}", f"--data.path={new}"])
    found = load_arrays(next(tmp_path.glob("results/VAE_Table/predict_*/reconstructions.npz")))
    np.testing.assert_array_equal(found["x"], [[2, 7], [1, 8], [np.nan, 9]])
    empty = write(tmp_path / "empty.csv", "age,city", "7,", "8,")
    main(["predict", f"--ckpt_path={checkpoint}", f"--data.path={empty}"])
    write(tmp_path / "new.csv", "age,city", "7,os")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["predict", f"--ckpt_path={checkpoint}", f"--data.path={new}"])
    assert "city in row 0 of" in capsys.readouterr().err
    model = vae_zoo.load(checkpoint)
    data = Table(path=str(empty))
    data.predict_split = "all"
    (rows,) = quiet_trainer(tmp_path).predict(model, data)
    assert rows["reconstruction"].shape == (2, 2)


@pytest.mark.parametrize("cls", few([IWAE, VampVAE], 1))
def test_other_models_learn_from_tables(cls: Any, tmp_path: Path) -> None:
    data = table(tmp_path)
    settings = {"num_pseudo": 20, "in_unit_interval": False} if cls is VampVAE else {}
    torch.manual_seed(0)
    model = cls(
        shape=data.shape,
        latent_dim=2,
        likelihood=data.likelihood,
        missing=True,
        scaling=data.scaling,
        encoder=small,
        decoder=small,
        **settings,
    )
    x = data.load("val").x
    before = model.elbo(x).value.mean().detach()
    quiet_trainer(tmp_path, max_epochs=15).fit(model, data)
    assert model.eval().elbo(x).value.mean() > before
    model.likelihood.check(model.sample(50, mean=False))
