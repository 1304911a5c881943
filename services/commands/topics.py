"""`posttrade topics`: what is declared in schemas/topics, and the cluster brought to it."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from services.adapters.topic_admin import Action, ExistingTopic, TopicChange, compare
from services.commands.cluster import Cluster
from services.commands.failure import CommandFailed
from services.commands.text import columns, plural
from services.pipeline import make_log
from services.topics import TopicSpecification

app = typer.Typer(help="List the topics, or create and compare them on the cluster.", no_args_is_help=False)


@app.command("apply", short_help="Create what is missing, alter what differs.")
def apply_topics(context: typer.Context) -> None:
    """Create the topics that are missing and alter settings that differ.

    A differing number of partitions is never changed but refused, and then nothing is done at all.
    """
    cluster: Cluster = context.obj
    make_log(cluster.settings)  # says what is missing when no cluster is named
    admin = cluster.admin()
    admin.reach()
    changes = admin.apply(cluster.topics)
    print(columns(("topic", "result", "details"), changes))
    refused = [change for change in changes if change.action is Action.REFUSE]
    if refused:
        raise CommandFailed(f"{plural(len(refused), 'topic')} cannot be applied, so nothing was done; see details")
    print(_tally(changes))


def _tally(changes: list[TopicChange]) -> str:
    counts = [(action, sum(change.action is action for change in changes)) for action in Action]
    return ", ".join(f"{count} {action.value}" for action, count in counts if count)


@app.command("list", short_help="List the topics, and how they are on the cluster.")
def list_topics(context: typer.Context) -> None:
    """List every declared topic and, when a cluster is named, whether it exists there as declared."""
    cluster: Cluster = context.obj
    existing: dict[str, ExistingTopic] | None = None
    if cluster.is_named:
        admin = cluster.admin()
        admin.reach()
        existing = admin.existing(cluster.topics)
    header = ["topic", "key", "format", "partitions", "retention", "producers", "consumers"]
    if existing is not None:
        header.append("on the cluster")
    print(columns(header, [_row(topic, existing) for topic in cluster.topics.values()], right=[3]))


def _row(topic: TopicSpecification, existing: Mapping[str, ExistingTopic] | None) -> tuple[str, ...]:
    config = topic.config
    retention = config.cleanup.value if config.retention_days is None else f"{config.retention_days} days"
    row = (
        topic.name,
        topic.key,
        topic.format.value if topic.record is None else f"{topic.format.value} {topic.record}",
        str(config.partitions),
        retention,
        ", ".join(topic.producers),
        ", ".join(topic.consumers),
    )
    return row if existing is None else (*row, _state(compare(topic, existing.get(topic.name))))


def _state(change: TopicChange) -> str:
    if change.action is Action.CREATE:
        return "missing"
    return "exists" if change.action is Action.NONE else f"differs: {change.details}"
