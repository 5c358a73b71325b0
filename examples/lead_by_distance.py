"""Print how the lead of robust sources over natural ones goes with eps, features and distance of source and target.

It reads the records of `suites/robust-transfer-mini-distance.yaml` through the Python interface::

    python examples/lead_by_distance.py leaderboard/results/robust-transfer-mini-distance/advtransfer

A lead is the accuracy of a robust source less that of the natural one of the same training, images and probe, in
points. Intervals are 95 % t-intervals over trainings. Pairs share sources and targets, so their coefficients have no
p. Every trial counts, one that did not learn too; where one has no result, nothing is printed but that.
"""

import sys

import pandas as pd
from scipy.stats import sem, spearmanr, t

import advtransfer

DISTANCES = ("mmd2", "frechet")


def read_accuracies(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each trial, with the parts of its labels: "fashion kept l2 0.5" by "probe C=1"."""
    rows = frame[(frame["evaluation"] == "clean") & (frame["metric"] == "accuracy")].copy()
    parts = rows["source"].str.extract(r"^(?P<data>\S+) (?P<features>\S+)(?: l2 (?P<l2>\S+))?$")
    rows[["data", "features"]] = parts[["data", "features"]]
    rows["l2"] = parts["l2"].astype(float).fillna(0.0)
    rows["C"] = rows["transfer"].str.removeprefix("probe C=").astype(float)
    return rows


def leads(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Return the lead of each robust trial over its natural one, in points."""
    key = ["data", "features", "target", "n", "C", "replicate"]
    natural = accuracies[accuracies["l2"] == 0].set_index(key)["value"].rename("natural")
    robust = accuracies[accuracies["l2"] > 0].join(natural, on=key)
    return robust.assign(lead=100 * (robust["value"] - robust["natural"]))


def read_distances(frame: pd.DataFrame) -> pd.DataFrame:
    """Return both distances of each source's data and target's images."""
    rows = frame[frame["evaluation"].str.startswith("from_") & frame["metric"].isin(DISTANCES)]
    rows = rows.assign(data=rows["evaluation"].str.removeprefix("from_"))
    return rows.pivot_table(index=["data", "target"], columns="metric", values="value")


def interval(rows: pd.DataFrame) -> str:
    """Return the mean lead with its t-interval over trainings: ``+1.2 [-0.3, +2.7]``."""
    values = rows.groupby("replicate")["lead"].mean()
    half = t.ppf(0.975, len(values) - 1) * sem(values)
    mean = values.mean()
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def table(rows: pd.DataFrame, index: list[str], columns: str) -> pd.DataFrame:
    """Return a table of leads."""
    return pd.DataFrame(
        {
            f"{columns} {name:g}" if isinstance(name, float) else f"{columns} {name}": part.groupby(
                index
            )[["replicate", "lead"]].apply(interval)
            for name, part in rows.groupby(columns)
        }
    )


def main(folder: str) -> None:
    """Print three tables and the coefficients."""
    frame = advtransfer.open(folder).frame()
    accuracies = read_accuracies(frame)
    rows = leads(accuracies)
    # A mean leaves NaN out, and would be over fewer trainings without saying so.
    if missing := int(accuracies["value"].isna().sum() + rows["lead"].isna().sum()):
        sys.exit(f"found {missing} trials without a result, or a natural source to compare with")
    print(
        f"{len(accuracies)} trials, of which {accuracies['unlearned'].notna().sum()} did not learn\n"
    )
    distances = read_distances(frame)
    by_pair = table(rows, ["features", "data", "target"], "l2")
    print(
        by_pair.join(distances.round(3), on=["data", "target"]).reset_index().to_string(index=False)
    )
    print()
    for option in ("n", "C"):
        print(table(rows, ["features", "data"], option).reset_index().to_string(index=False))
        print()
    for features, of_features in rows.groupby("features"):
        for l2, part in of_features.groupby("l2"):
            means = part.groupby(["data", "target"])["lead"].mean()
            joined = distances.join(means, how="inner")
            texts = [
                f"{name} {spearmanr(joined[name], joined['lead']).statistic:+.2f}"
                for name in DISTANCES
            ]
            print(f"{features}, l2 {l2:g}: Spearman over {len(joined)} pairs: {', '.join(texts)}")
    source = ["data", "features", "l2"]
    is_own = rows["data"] == rows["target"]
    own, others = (part.groupby(source)["lead"].mean() for part in (rows[is_own], rows[~is_own]))
    pairs = pd.DataFrame({"own": own, "others": others})
    for features in ("kept", "pooled", "all"):
        chosen = pairs if features == "all" else pairs.xs(features, level="features")
        coefficient = spearmanr(chosen["own"], chosen["others"]).statistic
        text = f"{features}: lead on other sets by that on the source's own: Spearman over {len(chosen)} robust sources"
        print(f"{text}: {coefficient:+.2f}")


if __name__ == "__main__":
    main(sys.argv[1])
