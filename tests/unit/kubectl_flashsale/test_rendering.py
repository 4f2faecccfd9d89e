"""What the plugin prints: tables, the story of a sale, its changes, its report."""

import pathlib
import types
from datetime import UTC, datetime

import pytest

from kubectl_flashsale import changes, errors, model, report, story, table

NOW = datetime(2030, 11, 29, 12, 1, 0, tzinfo=UTC)
STORY = """\
FlashSale shop/drop: Open
  Next: Closed at 2030-11-29T12:10:00Z, in 9m
  Sale
    Open until 2030-11-29T12:10:00Z.
    wanted    Active
    opens     2030-11-29T12:00:00Z (60s ago)
    closes    2030-11-29T12:10:00Z (in 9m)
    strategy  Escrow
    holds     last 2m
    age       3h1m
  Items
    phone: 999.00 USD, 1 per buyer, 5 units of InventoryPool phones
      the pool has 8 units: 3 sold, 1 reserved, 4 available
  Stock of the sale: 5 units: 3 sold, 1 reserved, 1 available
  Targets
    checkout (checkout): wanted 10, minReplicas 12, ready 9
  Topic sale.shop.drop.orders, partitions: 3
  Conditions
    Ready  True     AsPlanned: All is well.
    Armed  True     Loaded: It opens.
  Timeline
    2030-11-29T11:50:00.100Z  the gate was armed
    2030-11-29T12:00:00Z      the sale opened
    2030-11-29T12:00:00.012Z  the first buyer got a hold, 12 ms after openTime
"""


def pool(**status):
    return model.pool({"metadata": {"name": "phones"}, "status": status})


def test_story_has_every_part_of_a_sale(body):
    pools = {"phones": pool(capacity=8, sold=3, reserved=1, available=4)}
    told = story.tell(model.sale(body()), pools, NOW)
    assert "\n".join(story.plain(told)) + "\n" == STORY


def test_story_says_what_is_wrong_with_a_pool(body):
    ill = {"type": "Ready", "status": "False", "reason": "BelowCommitted", "message": "Too few."}
    for found, sentence in (
        ("does not exist", "the pool does not exist"),
        (pool(capacity=8, conditions=[ill]), "; BelowCommitted: Too few."),
    ):
        lines = list(story.plain(story.tell(model.sale(body()), {"phones": found}, NOW)))
        assert any(line.endswith(sentence) for line in lines)


def test_new_sale_is_told_without_what_is_not_known_yet(body):
    fresh = body()
    del fresh["status"]
    lines = list(story.plain(story.tell(model.sale(fresh), {}, NOW)))
    assert lines[0] == "FlashSale shop/drop: not seen by the operator yet"
    assert not [line for line in lines if line.strip() in {"Conditions", "Timeline", "Targets"}]


def test_square_brackets_are_text_and_not_markup(body):
    tree = story.drawn(story.tell(model.sale(body(status_summary="[bold]x[/bold]")), {}, NOW))
    assert tree.children[1].children[0].label.plain == "[bold]x[/bold]"


def test_list_has_the_columns_of_kubectl_get(body):
    crd = (pathlib.Path(__file__).parents[3] / "crds" / "flashsales.yaml").read_text()
    for column in (*table.COLUMNS[1:], *table.WIDE_COLUMNS):
        assert f"name: {column.capitalize()}," in crd
    lines = table.lines([model.sale(body())], NOW, is_wide=True, has_namespaces=True)
    assert lines[0].split() == ["NAMESPACE", *table.COLUMNS, *table.WIDE_COLUMNS]
    assert lines[1] == (
        "shop        drop   Open    2030-11-29T12:00:00Z   2030-11-29T12:10:00Z   3      1"
        "           True    3h1m   Closed   1          3       -4     Open until 2030-11-29T12:10:00Z."
    )


def test_each_change_is_one_line(body):
    before = model.sale(body())
    ready = {"type": "Ready", "status": "False", "reason": "GateLost", "message": "Lost."}
    after = model.sale(
        body(
            desiredState="Suspended",
            closeTime="2030-11-29T12:20:00Z",
            status_phase="SoldOut",
            status_summary="All sold.",
            status_inventory={"capacity": 5, "sold": 5},
            status_conditions=[ready],
            status_scaling=[],
        )
    )
    assert list(changes.between(before, after)) == [
        "wanted Suspended (was Active)",
        "closes 2030-11-29T12:20:00Z (was 2030-11-29T12:10:00Z)",
        "phase SoldOut (was Open): All sold.",
        "condition Ready False GateLost: Lost.",
        "stock 5 units: 5 sold, 0 reserved, 0 available",
    ]
    assert list(changes.between(after, after)) == []


def config_map(name="drop", **data):
    return types.SimpleNamespace(
        metadata=types.SimpleNamespace(labels={"doorbuster.dev/flashsale": name}), data=data
    )


def test_final_report_is_that_of_this_very_sale(body):
    written = config_map(**{"report.json": '{"uid":"u-1"}', "report.txt": "5 sold\n"})
    data = report.final(written, "drop")
    assert data["report.txt"] == "5 sold\n"
    assert report.is_about(data, model.sale(body()))
    assert not report.is_about({"report.json": '{"uid":"u-0"}'}, model.sale(body()))
    assert not report.is_about({"report.json": "torn"}, model.sale(body()))


def test_foreign_config_map_is_no_report():
    whole = {"report.json": "{}", "report.txt": ""}
    for foreign in (config_map("other", **whole), config_map(), config_map(**{"report.txt": ""})):
        with pytest.raises(errors.ClusterError, match="is no report of FlashSale"):
            report.final(foreign, "drop")


def test_living_sale_has_an_interim_report_in_the_words_of_the_final_one(body):
    figures = report.interim(model.sale(body()))
    assert (figures["isFinal"], figures["totals"]) == (False, {"capacity": 5, "sold": 3})
    assert figures["times"]["openTime"] == "2030-11-29T12:00:00Z"
    assert report.text(figures).splitlines()[1].startswith("Open. The final report is written")


def test_object_of_another_shape_is_an_error_with_its_name(body):
    with pytest.raises(model.UnreadableError, match=r"FlashSale drop .*openTime"):
        model.sale(body(openTime="soon"))
