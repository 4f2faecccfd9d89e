"""The files of every chart, as texts by path."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from . import values
from .parts import OPERATOR, PARTS, Part, Setting, callers, mounts, neighbours, settings
from .words import NEIGHBOUR, SETTINGS

KUBE = ">=1.31.0-0"
VERSION = "0.1.0"
MADE = "# Made by `make charts` from tools/charts and the service's own settings; do not edit.\n"
GLOBAL = values.asset("global.yaml")
PROJECT = Path(__file__).parents[2]


def all_files() -> dict[str, str]:
    """Every made file, by its path under charts/."""
    files: dict[str, str] = {}
    for part in (*PARTS, OPERATOR):
        folder = f"doorbuster-{part.name}"
        files |= {f"{folder}/{name}": text for name, text in _service(part).items()}
    files |= {f"doorbuster/{name}": text for name, text in _umbrella().items()}
    files["doorbuster-operator/templates/_rules.tpl"] = _operator_rules()
    files["doorbuster-operator/templates/policy.yaml"] = _operator_policy()
    files |= {f"doorbuster-crds/{name}": text for name, text in _crds().items()}
    return files


# --- one chart a service --------------------------------------------------------------------------


def _service(part: Part) -> dict[str, str]:
    text = _values(part)
    types = {
        f"config.{each.key}": each.schema
        for each in settings(part)
        if each.key and each.schema != "string"
    }
    schema = _schema(text, types)
    # Helm itself hands these in; the umbrella's own schema looks at what is global.
    schema["properties"] |= {"global": {"type": "object"}, "doorbuster-lib": {"type": "object"}}
    schema["properties"]["enabled"] = {"type": "boolean"}
    return {
        "Chart.yaml": _chart(f"doorbuster-{part.name}", f"Doorbuster: {part.does}", lib=True),
        "values.yaml": MADE + text,
        "values.schema.json": _json(schema),
        "README.md": _service_readme(part, text),
        "templates/service.yaml": _service_template(part),
        "templates/_settings.tpl": _settings_template(part),
    }


def _values(part: Part) -> str:
    known = settings(part)
    common = values.asset("common.yaml")
    common = common.replace("\nreplicas: 2\n", f"\nreplicas: {part.replicas}\n")
    common = common.replace("doorbuster/services", part.image)
    common = common.replace("memory: 320Mi", f"memory: {part.memory}")
    ports = "".join(f"\n        - {{port: {port}, protocol: TCP}}" for port in part.ports)
    common = common.replace("storeEgress: []", f"storeEgress:\n    - ports:{ports}")
    pieces = ["config:", *_config(known), *_secrets(part, known), common]
    if part.scales:
        pieces.append(values.asset("hpa.yaml"))
    if part.migrates:
        pieces.append(values.asset("migration.yaml"))
    if part.public:
        pieces.append(values.asset("public.yaml"))
    if part is OPERATOR:
        pieces.append(values.asset("operator.yaml"))
    return "\n".join(piece.rstrip() for piece in pieces) + "\n"


def _config(known: list[Setting]) -> list[str]:
    lines = []
    for each in known:
        if not each.key:
            continue
        words = (
            NEIGHBOUR.format(name=each.neighbour) if each.neighbour else SETTINGS[each.variable]
        )
        needed = " Needed." if each.required else ""
        lines += [f"  # -- {words}{needed}", f'  {each.key}: ""']
    return lines


def _secrets(part: Part, known: list[Setting]) -> list[str]:
    keys = [each for each in known if each.secret]
    lines = ["# Secrets are never values: they are named here and made by you.", "secrets:"]
    if keys:
        names = ", ".join(
            f"`{each.secret}`" + ("" if each.required else " (optional)") for each in keys
        )
        lines += [
            f"  # -- Secret with the keys {names}. Empty: `doorbuster-{part.name}`.",
            '  existingSecret: ""',
        ]
    if "key" in mounts(part):
        lines += [
            "  # -- Secret with the Ed25519 key (PEM) that signs this service's calls."
            f" Empty: `doorbuster-{part.name}-key`.",
            '  serviceKeySecret: ""',
            "  # -- The key in that Secret. While keys are changed it may be"
            f" `{part.name}.<anything>.pem`, its public half `{part.name}.<anything>.pub`. Empty: `{part.name}.pem`.",
            '  serviceKeyFile: ""',
        ]
    return lines if len(lines) > 2 else ["secrets: {}"]


def _service_template(part: Part) -> str:
    facts = {
        "part": part.name,
        "image": part.image,
        "command": list(part.argv),
        "migrates": part.migrates,
        "balanced": part.public,
        "hasKey": "key" in mounts(part),
        "hasPublicKeys": "public keys" in mounts(part),
    }
    shown = " ".join(f'"{name}" {_literal(value)}' for name, value in facts.items())
    text = f'{{{{- include "doorbuster.service" (dict "root" . {shown}) }}}}\n'
    if part.public:
        text += '{{- include "doorbuster.ingress" (dict "root" . "part" "gateway") }}\n'
        text += '{{- include "doorbuster.httpRoute" (dict "root" . "part" "gateway") }}\n'
    if part is OPERATOR:
        text = f'{{{{- include "doorbuster.operator" (dict "root" . {shown}) }}}}\n'
    return text


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"(list {' '.join(json.dumps(each) for each in value)})"
    return json.dumps(value)


def _settings_template(part: Part) -> str:
    rows: list[dict[str, Any]] = []
    for each in settings(part):
        row: dict[str, Any] = {"name": each.variable}
        if each.secret:
            row["secret"] = each.secret
        elif each.neighbour:
            row |= {"neighbour": each.neighbour, "value": each.key}
        else:
            row["key"] = each.key
        if each.required and not each.neighbour:
            row["required"] = True
        rows.append(row)
    lists: dict[str, list[Any]] = {
        "settings": rows,
        "callers": callers(part),
        "neighbours": neighbours(part),
    }
    text = "{{/* Made by `make charts`; do not edit. */}}\n"
    for name, items in lists.items():
        shown = "\n".join(
            f"- {json.dumps(item) if isinstance(item, str) else _flow(item)}" for item in items
        )
        text += f'\n{{{{- define "doorbuster-{part.name}.{name}" -}}}}\n{shown or "[]"}\n{{{{- end -}}}}\n'
    return text


def _flow(row: Mapping[str, Any]) -> str:
    inside = ", ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in row.items()
    )
    return f"{{{inside}}}"


def _service_readme(part: Part, text: str) -> str:
    made = ["ServiceAccount", "ConfigMap", "Deployment", "Service"]
    made += ["Job (before install and upgrade: the schema)"] if part.migrates else []
    optional = ["PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"]
    optional += ["HorizontalPodAutoscaler"] if part.scales else []
    optional += ["Ingress", "HTTPRoute"] if part.public else []
    return "\n".join(
        (
            f"# doorbuster-{part.name}\n",
            f"{part.does[0].upper()}{part.does[1:]}. One of the charts of [Doorbuster](../doorbuster);"
            " it can be installed alone.\n",
            f"Installs: {', '.join(made)}; where switched on also {', '.join(optional)}.\n",
            f"Called by: {', '.join(callers(part)) or 'nobody inside'}."
            f" Calls: {', '.join(neighbours(part)) or 'nobody inside'}.\n",
            values.table(text),
            "",
        )
    )


# --- the umbrella ---------------------------------------------------------------------------------


def _umbrella() -> dict[str, str]:
    toggles = "".join(
        f"{part.name}:\n  # -- Install this part. Its other values: see the chart doorbuster-{part.name}.\n"
        "  enabled: true\n"
        for part in (*PARTS, OPERATOR)
    )
    text = GLOBAL + toggles
    schema = _schema(text, {})
    for part in (*PARTS, OPERATOR):
        own = json.loads(_service(part)["values.schema.json"])["properties"]
        own["enabled"] = schema["properties"][part.name]["properties"]["enabled"]
        schema["properties"][part.name] = {
            "type": "object",
            "additionalProperties": False,
            "properties": own,
        }
    dependencies = [
        {
            "name": f"doorbuster-{part.name}",
            "alias": part.name,
            "version": VERSION,
            "repository": f"file://../doorbuster-{part.name}",
            "condition": f"{part.name}.enabled",
        }
        for part in (*PARTS, OPERATOR)
    ]
    return {
        "Chart.yaml": _chart(
            "doorbuster",
            "Doorbuster: e-commerce for the moment when a thousand people want five phones",
            dependencies=dependencies,
        ),
        "values.yaml": MADE + text,
        "values.schema.json": _json(schema),
        "README.md": _umbrella_readme(text),
    }


def _umbrella_readme(text: str) -> str:
    rows = ["| Secret | keys | for |", "|---|---|---|"]
    for part in (*PARTS, OPERATOR):
        keys = [
            f"`{each.secret}`" + ("" if each.required else " (optional)")
            for each in settings(part)
            if each.secret
        ]
        if keys:
            rows.append(f"| `doorbuster-{part.name}` | {', '.join(keys)} | {part.name} |")
        if "key" in mounts(part):
            rows.append(f"| `doorbuster-{part.name}-key` | `{part.name}.pem` | {part.name} |")
    installed = ["| part | what it is | called by |", "|---|---|---|"]
    for part in (*PARTS, OPERATOR):
        by = ", ".join(callers(part)) or ("people, through the ingress" if part.public else "-")
        installed.append(f"| [{part.name}](../doorbuster-{part.name}) | {part.does} | {by} |")
    intro = values.asset("readme.md")
    return intro.format(
        installed="\n".join(installed), secrets="\n".join(rows), values=values.table(text)
    )


# --- the operator ---------------------------------------------------------------------------------


def _operator_rules() -> str:
    """The rights that the operator's own tests prove to be the smallest set."""
    documents = yaml.safe_load_all((PROJECT / "manifests/operator/rbac.yaml").read_text())
    [role] = [each for each in documents if each["kind"] == "Role"]
    rules = yaml.safe_dump(role["rules"], sort_keys=False, default_flow_style=None, width=110)
    lease = '{{ .Values.config.operatorLease | default "doorbuster-operator" }}'
    return (
        "{{/* Made by `make charts` from manifests/operator/rbac.yaml; do not edit. */}}\n"
        '{{- define "doorbuster-operator.rules" -}}\n'
        f"{rules.replace('[doorbuster-operator]', f'[{lease}]')}{{{{- end -}}}}\n"
    )


def _operator_policy() -> str:
    """The admission policy, which belongs to the whole cluster."""
    text = (PROJECT / "manifests/operator/policy.yaml").read_text()
    return "{{- if .Values.admissionPolicy.enabled }}\n" + text.rstrip() + "\n{{- end }}\n"


# --- the CRDs -------------------------------------------------------------------------------------


def _crds() -> dict[str, str]:
    """The CRDs as templates, so that an upgrade changes them; kept when the release goes, with the user's objects."""
    files = {
        "Chart.yaml": _chart(
            "doorbuster-crds", "The resources FlashSale and InventoryPool of Doorbuster"
        )
    }
    for path in sorted((PROJECT / "crds").glob("*.yaml")):
        text = path.read_text().replace(
            "metadata:\n",
            "metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n",
            1,
        )
        files[f"templates/{path.name}"] = (
            MADE.replace("the service's own settings", "crds/") + text
        )
    return files


# --- pieces ---------------------------------------------------------------------------------------


def _chart(
    name: str,
    description: str,
    *,
    lib: bool = False,
    dependencies: list[dict[str, str]] | None = None,
) -> str:
    fields: dict[str, Any] = {
        "apiVersion": "v2",
        "name": name,
        "description": description,
        "type": "application",
        "version": VERSION,
        "appVersion": VERSION,
        "kubeVersion": KUBE,
    }
    if lib:
        dependencies = [
            {
                "name": "doorbuster-lib",
                "version": VERSION,
                "repository": "file://../doorbuster-lib",
            }
        ]
    if dependencies:
        fields["dependencies"] = dependencies
    return MADE + yaml.safe_dump(fields, sort_keys=False, width=110)


def _schema(text: str, types: dict[str, str]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **values.schema(text, types),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
