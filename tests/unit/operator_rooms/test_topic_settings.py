"""What a topic that was there keeps, and that one refused growth is the trouble of one sale alone."""

from types import SimpleNamespace

import pytest
from aiokafka.errors import InvalidPartitionsError, NotControllerError, TopicAlreadyExistsError

from doorbuster_operator import topics
from doorbuster_operator.sale.facts import TopicSeen, TopicWanted

DEFAULTS = {
    "retention.ms": "604800000",
    "cleanup.policy": "delete",
    "compression.type": "producer",
}
BROKER_DEFAULT = 5


class Admin:
    """Brokers as aiokafka's admin client shows them; a topic is its partitions and what was set on it."""

    def __init__(self):
        self.partitions = {}
        self.own = {}
        self.altered = []
        self.growth_errors = {}

    def put(self, name, partitions, **own):
        self.partitions[name] = partitions
        self.own[name] = {key.replace("_", "."): value for key, value in own.items()}

    async def create_topics(self, wanted):
        codes = []
        for each in wanted:
            is_there = each.name in self.partitions
            codes.append((each.name, TopicAlreadyExistsError.errno if is_there else 0, None))
            if not is_there:
                self.partitions[each.name] = each.num_partitions
                self.own[each.name] = each.topic_configs
        return SimpleNamespace(topic_errors=codes)

    async def describe_topics(self, names):
        return [
            {"topic": name, "error_code": 0, "partitions": [{}] * self.partitions[name]}
            for name in names
        ]

    async def describe_configs(self, asked):
        found = []
        for each in asked:
            own = self.own[each.name]
            entries = [
                (key, value, False, 1 if key in own else BROKER_DEFAULT, False, [])
                for key, value in (DEFAULTS | own).items()
            ]
            found.append((0, None, 2, each.name, entries))
        return [SimpleNamespace(resources=found)]

    async def create_partitions(self, wanted):
        ((name, new),) = wanted.items()
        if name in self.growth_errors:
            raise self.growth_errors[name]
        self.partitions[name] = new.total_count

    async def alter_configs(self, asked):
        for each in asked:
            self.altered.append(each.name)
            self.own[each.name] = each.configs
        return [SimpleNamespace(resources=[(0, None, 2, each.name) for each in asked])]


def want(name, partitions=3, retention_seconds=3600):
    return TopicWanted(
        name=name,
        partitions=partitions,
        replication_factor=1,
        retention_seconds=retention_seconds,
    )


async def ensure(admin, *batch):
    refused = await topics._create(admin, list(batch))
    refused |= await topics._shape(admin, list(batch))
    rest = [each for each in batch if each.name not in refused]
    return refused, await topics._read_back(admin, rest)


async def test_what_somebody_else_set_on_a_topic_stays_when_its_retention_changes():
    admin = Admin()
    admin.put("drop", 3, min_insync_replicas="2", retention_ms="1000")
    await ensure(admin, want("drop"))
    assert admin.own["drop"] == {
        "min.insync.replicas": "2",
        "retention.ms": "3600000",
        "cleanup.policy": "delete",
    }


async def test_a_topic_that_is_as_it_should_be_is_not_altered():
    admin = Admin()
    admin.put("drop", 3, retention_ms="3600000")
    _, seen = await ensure(admin, want("drop"), want("new"))
    assert admin.altered == []
    assert seen["new"] == TopicSeen(name="new", partitions=3, retention_seconds=3600)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidPartitionsError("no"), topics.TopicRefusedError),
        (NotControllerError("soon"), topics.TopicsUnavailableError),
    ],
)
async def test_one_growth_that_is_refused_fails_no_other_topic(error, kind):
    admin = Admin()
    admin.put("bad", 1)
    admin.put("good", 1)
    admin.growth_errors["bad"] = error
    refused, seen = await ensure(admin, want("bad"), want("good"))
    assert isinstance(refused["bad"], kind)
    assert seen == {"good": TopicSeen(name="good", partitions=3, retention_seconds=3600)}


async def test_a_retention_that_brokers_do_not_show_is_not_told(monkeypatch):
    monkeypatch.setattr(topics, "READ_BACK_PAUSE_SECONDS", 0)
    admin = Admin()
    admin.put("drop", 3, retention_ms="1000")
    assert await topics._read_back(admin, [want("drop")]) == {}
