"""`info`, `resume`."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def info(call: Call) -> int:
    facts = call.engine.system.info()
    text = call.flags.text("format")
    if text:
        from inception.cli.template import Template
        from inception.cli.template_values import to_json

        write((to_json(facts) if text == "json" else Template(text).render(facts)) + "\n")
        return 0
    write("".join(line + "\n" for line in _lines(facts)))
    return 0


def _lines(facts: dict[str, Any]) -> list[str]:
    """In Docker's words and order; what we have nothing to say about is left out."""
    from inception.cli.format import human_bytes

    plugins = {kind: names for kind, names in facts["Plugins"].items() if names}
    lines = [
        "Client:",
        f" Version:    {facts['ServerVersion']}",
        " Debug Mode: false",
        "",
        "Server:",
        f" Containers: {facts['Containers']}",
        *(f"  {state}: {facts[f'Containers{state}']}" for state in ("Running", "Paused", "Stopped")),
        f" Images: {facts['Images']}",
        f" Server Version: {facts['ServerVersion']}",
        f" Storage Driver: {facts['Driver']}",
        *(f"  {key}: {value}" for key, value in facts["DriverStatus"]),
        f" Logging Driver: {facts['LoggingDriver']}",
        f" Cgroup Driver: {facts['CgroupDriver']}",
        f" Cgroup Version: {facts['CgroupVersion']}",
        " Plugins:",
        *(f"  {kind}: {' '.join(names)}" for kind, names in plugins.items()),
        f" Swarm: {facts['Swarm']['LocalNodeState']}",
        f" Runtimes: {' '.join(facts['Runtimes'])}",
        f" Default Runtime: {facts['DefaultRuntime']}",
        f" Init Binary: {facts['InitBinary']}",
        " Security Options:",
    ]
    for option in facts["SecurityOptions"]:
        name, *rest = (part.partition("=")[::2] for part in option.split(","))
        lines += [f"  {name[1]}", *(f"   {key.capitalize()}: {value}" for key, value in rest)]
    lines += [
        f" {title}: {facts[key]}"
        for title, key in (
            ("Kernel Version", "KernelVersion"),
            ("Operating System", "OperatingSystem"),
            ("OSType", "OSType"),
            ("Architecture", "Architecture"),
            ("CPUs", "NCPU"),
        )
    ]
    lines += [
        f" Total Memory: {human_bytes(facts['MemTotal'])}",
        f" Name: {facts['Name']}",
        f" ID: {facts['ID']}",
        f" Docker Root Dir: {facts['DockerRootDir']}",
        f" Debug Mode: {str(facts['Debug']).lower()}",
    ]
    for key, title in (("HttpProxy", "HTTP Proxy"), ("HttpsProxy", "HTTPS Proxy"), ("NoProxy", "No Proxy")):
        if facts[key]:
            lines.append(f" {title}: {facts[key]}")
    registries = facts["RegistryConfig"]
    lines += [" Insecure Registries:", *(f"  {each}" for each in registries["InsecureRegistryCIDRs"])]
    lines += [f"  {each['Name']}" for each in registries["IndexConfigs"].values() if not each["Secure"]]
    if registries["Mirrors"]:
        lines += [" Registry Mirrors:", *(f"  {each}" for each in registries["Mirrors"])]
    lines.append(f" Live Restore Enabled: {str(facts['LiveRestoreEnabled']).lower()}")
    return [*lines, *(f"WARNING: {each}" for each in facts["Warnings"])]


def resume(call: Call) -> int:
    for name in call.local_engine("system resume").system.resume():
        print(name)
    return 0


INFO = Command(
    info,
    "[OPTIONS]",
    "Display system-wide information",
    '  -f, --format string   Format output: "json", or a Go template\n',
    maximum=0,
)
RESUME = Command(resume, "", "Start again what should run, after a reboot or a crash", maximum=0)
