"""Those who read a FineTuneJob's status: Argo CD's health check, and kstatus in its own order."""

from pathlib import Path
from typing import Any

from lupa import lua51

Manifest = dict[str, Any]

HEALTH_LUA = Path(__file__).parents[2] / "argocd" / "health.lua"
# What Argo CD's Lua has; everything else of the standard library is taken away here.
_BASE = {
    *("assert", "error", "ipairs", "next", "pairs", "pcall", "select", "setmetatable"),
    *("getmetatable", "tonumber", "tostring", "type", "unpack", "table", "_G", "_VERSION"),
}


def argo_health(obj: Manifest) -> tuple[str, str]:
    """Status and message of health.lua; Argo CD itself decides on objects that are going."""
    if "deletionTimestamp" in obj["metadata"]:
        return "Progressing", "Pending deletion"
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    lua.execute('getmetatable("").__index = nil')
    names = lua.globals()
    for name in list(names):
        if name not in _BASE:
            names[name] = None
    names["obj"] = _to_lua(lua, obj)
    health = lua.execute(HEALTH_LUA.read_text())
    return health["status"], health["message"]


def _to_lua(lua: Any, value: Any) -> Any:
    match value:
        case dict():
            return lua.table_from({key: _to_lua(lua, inner) for key, inner in value.items()})
        case list():
            return lua.table_from([_to_lua(lua, inner) for inner in value])
    return value


def kstatus(obj: Manifest) -> str:
    """The order of kstatus for a kind that it does not know, as in its status/generic.go."""
    metadata, status = obj["metadata"], obj.get("status", {})
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    conditions = status.get("conditions", [])
    for condition in conditions:
        match condition["type"], condition["status"]:
            case "Reconciling", "True":
                return "InProgress"
            case "Stalled", "True":
                return "Failed"
    for condition in conditions:
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"
