"""What a portserver starts with: its numbers, and room for descriptors."""

from anyport._address import TCP, UDP, endpoints
from anyport._candidates import QUIET, offer_of, out_of, shuffled
from anyport._linux.sysctl import port_settings
from anyport._portserver.pool import Pool
from anyport._probe import Probe
from anyport.errors import NoUnusedPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from anyport._messages import Tell
    from anyport._ports import PortSet

ADDRESS = "@unittest-portserver"  # where portpicker's own server is by default


def raise_limit() -> int:
    """Allow ourselves as many descriptors as we may have (RLIMIT_NOFILE, getrlimit(2)); how many."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def pool(ports: "PortSet | None", tell: "Tell", *, holding: bool) -> Pool:
    """These numbers, or the quiet range, in random order: two servers should not give the same ones first."""
    probe = Probe(endpoints((), (TCP, UDP)), holding=holding)
    settings = port_settings(probe.namespace())
    offer = offer_of(settings)
    numbers = [port for port in QUIET if offer.is_quiet(port)] if ports is None else out_of(ports, offer)
    ephemeral = f"the ephemeral range {settings.low}-{settings.high}"
    if not numbers:
        what = f"{ephemeral} leaves no quiet range" if ports is None else f"no number of {ports} may be offered"
        raise NoUnusedPort(f"no port to serve: {what}", hint="name others, such as --pool 15000-24999")
    inside = sum(map(settings.is_ephemeral, numbers))
    if inside and not holding:
        danger = "the kernel may give them to other programs before yours bind them"
        hint = "a pool below it, such as 15000-24999, is safe from that; --hold is another way"
        tell("warning", f"{inside} of {len(numbers)} numbers lie in {ephemeral}: {danger}", hint)

    def warn(message: str, hint: str) -> None:
        tell("warning", message, hint)

    return Pool(shuffled(numbers), probe, warn, holding=holding)
