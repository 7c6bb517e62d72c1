"""Settings of labels: which table, whose rows, which column. Every probe shares them."""

from dataclasses import dataclass

from octshard.config.fields import field


@dataclass
class LabelConfig:
    """What is predicted, and of whom."""

    participants: str = field("", "participants.tsv, where labels come from", place=True)
    labels: str = field("", "a TSV, CSV, .xlsx or Parquet table of labels; empty: participants", place=True)
    join: str = field(
        "participant",
        "what a row of the table is about: participant, eye (a column eye or laterality beside the person), "
        "key (a scan), or the column that says it: one of samples.parquet that names a scan (source, "
        "sop_instance_uid, sha256), else one of participants' ids",
    )
    label: str = field("study_group", "a column of the table")
    target: str = field(
        "auto",
        "what its values are; auto: ordinal if order is given, numbers if there are more than 20 or some are "
        "not whole, else classes",
        choices=("auto", "classes", "numbers", "ordinal"),
    )
    order: list[str] = field(
        [], "the classes of an ordinal target, lowest first; may be left out where they are numbers"
    )
