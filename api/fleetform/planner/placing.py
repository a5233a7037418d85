"""New replicas: what the quota and the hosts have room for, with everything decided that a reservation needs."""

import hashlib
from collections import Counter

from fleetform.domain.machine import Capacity, Reservation
from fleetform.domain.replica import Member, Replica, ReplicaPhase
from fleetform.domain.rollout import Track
from fleetform.planner import placement, scale
from fleetform.planner.draft import Draft
from fleetform.planner.model import Blocked, BlockReason, Reserve


def placed(draft: Draft, wanted: list[str]) -> tuple[Draft, bool]:
    """draft with a reservation for each of the wanted replicas (track ids, in order) that there is room for.

    True when some found no room. Without a look at the capacity nothing is placed and the draft says that it needs one.
    """
    if not wanted or draft.state is None:
        return draft, False
    capacity = draft.observed.capacity
    if capacity is None:
        return draft.but(needs_capacity=True), False
    free = placement.rooms(capacity, frozenset(r.replica_id for r in draft.replicas))
    full: Counter[str] = Counter()
    for index, track_id in enumerate(wanted):
        track = draft.state.tracks[track_id]
        refusal = _quota_refusal(draft, capacity, track)
        member = None
        if refusal is None:
            fits = placement.fits_ever(capacity, track.shape, track.manifest.size_bytes)
            asleep = tuple(s for s in capacity.asleep if (s.endpoint_uid, s.track_id) == (draft.desired.uid, track_id))
            member = placement.place(free, track.shape, asleep) if fits else None
            if member is None:
                refusal = placement.why_not(capacity, track.shape, track.manifest.size_bytes, track.instance_type)
        if member is None:
            full[track_id] += 1
            draft = _refused(draft, track_id, refusal)
            continue
        free = placement.taken(free, member, track.shape)
        draft = draft.but(reserves=(*draft.reserves, _reserve(draft, track, member, index)))
    return draft, bool(full)


def _quota_refusal(draft: Draft, capacity: Capacity, track: Track) -> Blocked | None:
    """What the endpoint may still reserve is the rest of its floor, and what is free above all floors."""
    reserved = sum(1 for reserve in draft.reserves if reserve.instance_type == track.instance_type)
    if track.instance_type != draft.desired.effective.instance_type:
        return _refusal_elsewhere(draft, track, capacity.free_elsewhere.get(track.instance_type, 0) - reserved)
    held = draft.observed.held + reserved
    above = max(0, held - max(draft.observed.booked, draft.observed.held))
    if held < draft.observed.booked or capacity.quota_used + above < capacity.quota_limit:
        return None
    message = (
        f"the quota of {draft.desired.project} for {track.instance_type} is {capacity.quota_limit} replicas, "
        f"{capacity.quota_used + above} of them booked; this endpoint holds {held} and needs one more to go on: "
        f"raise the quota or free a replica"
    )
    return Blocked(reason=BlockReason.QUOTA_EXHAUSTED, message=message)


def _refusal_elsewhere(draft: Draft, track: Track, free: int) -> Blocked | None:
    """The floor is booked of the wanted instance type: of another one, which a track still has, only what is free may be reserved."""
    if free > 0:
        return None
    message = f"the quota of {draft.desired.project} for {track.instance_type}, which {track.track_id} still runs on, has no replica free"
    return Blocked(reason=BlockReason.QUOTA_EXHAUSTED, message=message)


def _refused(draft: Draft, track: str, refusal: Blocked | None) -> Draft:
    """draft with the refusal among what it waits for; with an incumbent, want of room is want of room for a surge."""
    if refusal is None:
        return draft
    state = draft.state
    if refusal.reason is BlockReason.NO_CAPACITY and state is not None and track not in state.old and scale.ready(draft.replicas):
        message = f"no room to start {track} beside what serves: {refusal.message}"
        refusal = Blocked(reason=BlockReason.NO_SURGE_CAPACITY, message=message)
    return draft if refusal in draft.blocked else draft.but(blocked=(*draft.blocked, refusal))


def _reserve(draft: Draft, track: Track, member: Member, index: int) -> Reserve:
    replica = Replica(
        replica_id="r" + derived(draft.observed.seed, "replica", index)[:12],
        endpoint_uid=draft.desired.uid,
        track=track.track_id,
        model_version=track.model_version,
        generation=draft.desired.generation,
        phase=ReplicaPhase.PLACING,
        members=(member,),
        nonce=derived(draft.observed.seed, "nonce", index)[:16],
        created_at=draft.now,
        changed_at=draft.now,
    )
    reservation = Reservation(
        replica_id=replica.replica_id,
        host=member.host,
        cpu_millis=track.shape.cpu_millis,
        memory_mib=track.shape.memory_mib,
        devices=member.devices,
    )
    return Reserve(replica=replica, reservation=reservation, shape=track.shape, instance_type=track.instance_type)


def derived(seed: str, what: str, index: int) -> str:
    """64 hex digits, the same for the same seed, purpose and index."""
    return hashlib.sha256(f"{seed}:{what}:{index}".encode()).hexdigest()
