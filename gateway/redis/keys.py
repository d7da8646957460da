"""All Redis keys on one page, each with its name, type, content and lifetime, and the version of the stored data.

A `{…}` part is a Cluster hash tag: all keys of one batch share a slot, all keys of the scheduler share another, so that
each script touches one slot only. Nothing in a name comes from a prompt or a client's key; tenant names are
percent-encoded. Times are milliseconds of the Redis server's clock.

    batches, one slot per batch: gw:b:{<batch id>}:
      m        hash    the batch: status, cursor, times, options (gateway/batches/lifecycle)   none; ended: 90 d
      in       hash    chunk number -> items' params, encoded     1 h while staging; none; unlinked when sealed
      cid      hash    chunk number -> custom_ids, encoded; "index" -> first index of each chunk, 4 bytes each
                                                                  1 h while staging; none; ended: retention (29 d)
      lease    zset    index -> deadline of its lease             unlinked when sealed, as all down to `grant`
      own      hash    index -> fence of the claim that holds it
      retry    zset    index -> not before
      sus      zset    index -> since when; lost twice, to be redelivered alone
      lost     hash    index -> "<leases lost> <fence of the last one lost>"
      try      hash    index -> upstream attempts that count against it; r<index> -> those in a row that do not
      grant    hash    worker -> "<fence> <reply>", so that a repeated claim gets the same grant
      sync     string  written so as to wait for the disk or a replica                   60 s
      ok, err  hash    index -> result line, encoded              none; ended: retention (29 d)

    scheduler, one slot: gw:q:{s}:
      b        hash    batch -> "<level> <tenant> <virtual time>"; level 1 unless its priority counts across tenants
      wake     zset    batch with nothing to claim now -> when it may have again
      due      zset    batch not ended -> when the sweeper inspects it next
      t:<0-2>  zset    tenant with claimable batches -> virtual time, per level
      r:<0-2>  zset    "<tenant> <virtual time> <batch>", all scores 0: claimable batches in the order within a tenant
      p:<w>    string  worker -> "<nonce> <batch>", so that a repeated pick gets the same batch          60 s

    tenants
      gw:tenants             set     tenants that ever had a batch
      gw:t:{<t>}:batches     zset    batch id -> created             trimmed by the sweeper
      gw:t:{<t>}:bytes       hash    batch id -> bytes stored of it, until it has ended  trimmed with each creation
      gw:t:{<t>}:idem:<h>    string  digest of an Idempotency-Key -> batch id            60 s while creating, then 24 h

    threads, one slot per thread and one per reply
      gw:th:{<thread>}       hash    a conversation: v, base (fields of its creation, encoded), 0… (the turns' messages,
                                     encoded), turns, size, id:<reply> of each turn, head (last reply), stop (why it
                                     ended), claim and until (who continues it)  GATEWAY_THREAD_SECONDS, sliding
      gw:th:{<t>:<id>}:of    string  id of a tenant's reply -> its thread            likewise

    prompt cache, sixteen slots, by the first digit of a request's fingerprint
      gw:c:{<d>}:e:<f>       string  an answer, encoded (gateway/cache/entry)   GATEWAY_CACHE_TTL, a tenth more or less
      gw:c:{<d>}:l:<f>       string  who asks the upstream for it now, until silent for GATEWAY_CACHE_LOCK_SECONDS;
                                     or `-`: nothing came of it that can be shared   1 s
      gw:c:{<d>}:x           hash    fingerprint -> "<bytes> <expires> <tenant> <model>"  none
      gw:c:{<d>}:u           zset    fingerprint -> last use         none
      gw:c:{<d>}:n           hash    bytes; of each tenant b:<t>, bytes, and e:<t>, entries; out:<t> and old:<t>, how
                                     many were pushed out and have expired  none
      gw:c:{<d>}:p           hash    `*`, t:<t>, m:<model>, "t:<t> m:<model>" or k:<f> -> when that was purged: what was
                                     asked for before is not kept    1 h
      gw:c:{t:<t>}:n         hash    a tenant's hits, misses, waits and bypasses  30 d, sliding

    access, one slot: gw:a:{a}:
      keys     hash    "key:<id>" -> a client key, "scope:<name>" -> limits and budgets, as JSON  none
      v        hash    their versions: of a key under "key:<id>", of limits under the scope's name   none
      chg      zset    name of a record -> epoch of its last change                              none
      epoch    string  number of changes                                                         none
      dig      hash    digest of a key -> "key:<id>"                                             none
      s:<scope>  hash  one scope's state: clocks of its rates in microseconds, running, and of each budget start, spent
                       and held                                                                  none
      l        zset    reservation -> deadline of its lease
      d        hash    reservation -> what was admitted, as JSON
      u        stream  usage, one entry an exchange, trimmed to USAGE_ENTRIES
      once:<id>  string  mark of a use that was recorded without a reservation                   24 h
      in-<process>  string  number of the latest group of uses that it has entered without reservations  24 h, sliding
      idem:<h>   string  digest of an Idempotency-Key -> outcome of that change, sealed          24 h
      in:<what>:<digest>  string  a sign-in in progress, a refresh token (sealed), attempts of an address  10 min; 30 d
      p        zset    process -> when it is taken for dead
      late     zset    cost to be asked for again, as JSON -> when
      r:<day>  hash    "<tenant>|<user>|<key>|<model>|<provider>|<what>" -> sum of a UTC day     400 d
      audit    stream  what was changed by whom, each entry with the hash of the one before      none
      head     string  "<number> <hash>" of the last of these                                    none

    console, one slot: gw:o:{o}:
      x        stream  recent exchanges without content, as JSON, trimmed to RECENT_EXCHANGES
      f        stream  those of them that failed, trimmed to RECENT_FAILURES
      m:<t>    hash    counts of the ten seconds from Unix second <t> on, over all processes   20 min
      p        hash    process -> what it reports each second, as JSON; entries older than a minute are removed  1 h
      s:<d>    string  digest of a session's cookie -> "<role> <MAC of the key that opened it>"  12 h

    calls to an upstream that has limits, one slot for each of its keys, all for 2 min after the last change
      gw:up:{<circuit>}:r    zset    call -> when it began, of the last minute
      gw:up:{<circuit>}:t    zset    call, or "<call>:more" -> when its tokens were counted
      gw:up:{<circuit>}:n    hash    these -> tokens; "*" -> their sum
      gw:up:{<circuit>}:c    zset    call in flight -> deadline of its lease
      gw:up:{<circuit>}:b    zset    likewise, of batches

    calls to a server without configured limits
      gw:up:{<circuit>}:l    hash    process -> "<Redis' ms> <live calls in flight> <those of batches>"   5 s

    others
      gw:cb:{<circuit>}      hash    a circuit that is paused or open, named as in upstream/health/circuits: until,
                                     length, stamp, open, probe, probe_until   10 min after `until`
      gw:learned             hash    [server, model, adaptation] as JSON -> wall time in seconds until which it counts:
                                     what requests to an upstream model need   24 h, sliding
      gw:pins                stream  sessions that moved: s, digest of the session; c, candidate; t, ms after its last
                                     use   1 h, sliding
      gw:probe               string  written every few seconds, to see whether Redis takes writes  60 s
      gw:secret              string  the secret made when none is configured (SET NX)  none
"""

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

# Version of all stored forms above. A newer process reads older data; an older one refuses newer data and says so.
DATA_VERSION = 1
# The oldest release of the server that has the commands of the scripts.
OLDEST_SERVER = (6, 2)

DEFAULT_PREFIX = "gw:"
# An upload of 256 MB over a slow line takes minutes; what an aborted one has stored is freed after this.
STAGING_SECONDS = 3600
# The time that a batch may run: a client that repeats its create after a day means a new batch.
IDEMPOTENCY_SECONDS = 24 * 3600
# Of an idempotency key while its batch is committed; freed by itself when the front end dies.
RESERVATION_SECONDS = 60

# Of one tenant's batches among themselves; tenants share by fairness in any case.
PRIORITY_LEVELS = 3
# Entries of about 400 bytes: 6 MB. Failures have a separate list, or a busy batch would push them out in minutes.
RECENT_EXCHANGES = 10_000
RECENT_FAILURES = 5000


class BatchKeys(NamedTuple):
    """The keys of one batch, in the order in which every batch script takes them."""

    meta: str
    input: str
    ids: str
    lease: str
    own: str
    retry: str
    suspect: str
    lost: str
    tries: str
    ok: str
    err: str
    grant: str


class SchedulerKeys(NamedTuple):
    """The scheduler's fixed keys, in the order in which its scripts take them; the levels run from low to high."""

    records: str
    wake: str
    due: str
    tenants_low: str
    tenants_normal: str
    tenants_high: str
    ready_low: str
    ready_normal: str
    ready_high: str


class LaneKeys(NamedTuple):
    """Keys of the calls to one upstream with one key, in the order in which their script takes them."""

    calls: str
    tokens: str
    amounts: str
    running: str
    batches: str


class ShardKeys(NamedTuple):
    """Keys of one sixteenth of the prompt cache, in the order in which its scripts take them."""

    records: str
    used: str
    totals: str
    purged: str


class AccessKeys(NamedTuple):
    """Keys of access with fixed names; the first seven in the order of `access_write`'s KEYS."""

    records: str
    versions: str
    changes: str
    epoch: str
    digests: str
    audit: str
    head: str
    leases: str
    reservations: str
    usage: str
    processes: str
    late: str


class Keys:
    """Builds key names under one prefix, so that several installations, or tests, can share a server."""

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        self.prefix = prefix
        queue = f"{prefix}q:{{s}}:"
        self.scheduler = SchedulerKeys(
            f"{queue}b",
            f"{queue}wake",
            f"{queue}due",
            *(f"{queue}t:{level}" for level in range(PRIORITY_LEVELS)),
            *(f"{queue}r:{level}" for level in range(PRIORITY_LEVELS)),
        )
        parts = ("keys", "v", "chg", "epoch", "dig", "audit", "head", "l", "d", "u", "p", "late")
        self.access = AccessKeys(*(f"{prefix}a:{{a}}:{part}" for part in parts))
        self.recent_exchanges = f"{prefix}o:{{o}}:x"
        self.recent_failures = f"{prefix}o:{{o}}:f"
        self.fleet = f"{prefix}o:{{o}}:p"
        self.sign_in = f"{prefix}a:{{a}}:in:"
        self.tenants = f"{prefix}tenants"
        self.secret = f"{prefix}secret"
        self.learned = f"{prefix}learned"
        self.pins = f"{prefix}pins"
        self.probe = f"{prefix}probe"

    def batch(self, batch_id: str) -> BatchKeys:
        base = f"{self.prefix}b:{{{batch_id}}}:"
        parts = ("m", "in", "cid", "lease", "own", "retry", "sus", "lost", "try", "ok", "err", "grant")
        return BatchKeys(*(base + part for part in parts))

    def batch_meta(self, batch_id: str) -> str:
        return f"{self.prefix}b:{{{batch_id}}}:m"

    def batch_sync(self, batch_id: str) -> str:
        return f"{self.prefix}b:{{{batch_id}}}:sync"

    def pick(self, worker: str) -> str:
        return f"{self.prefix}q:{{s}}:p:{quote(worker, safe='')}"

    def tenant_batches(self, tenant: str) -> str:
        return f"{self.prefix}t:{{{quote(tenant, safe='')}}}:batches"

    def tenant_bytes(self, tenant: str) -> str:
        return f"{self.prefix}t:{{{quote(tenant, safe='')}}}:bytes"

    def idempotency(self, tenant: str, digest: str) -> str:
        return f"{self.prefix}t:{{{quote(tenant, safe='')}}}:idem:{digest}"

    def scope(self, name: str) -> str:
        return f"{self.prefix}a:{{a}}:s:{_quoted_scope(name)}"

    def accounted(self, request_id: str) -> str:
        return f"{self.prefix}a:{{a}}:once:{request_id}"

    def entered(self, process: str) -> str:
        return f"{self.prefix}a:{{a}}:in-{process}"

    def access_outcome(self, digest: str) -> str:
        return f"{self.prefix}a:{{a}}:idem:{digest}"

    def usage_sums(self, day: str) -> str:
        return f"{self.prefix}a:{{a}}:r:{day}"

    def packed_sums(self, day: str) -> str:
        return f"{self.prefix}a:{{a}}:r:{day}:z"

    def activity(self, second: int) -> str:
        return f"{self.prefix}o:{{o}}:m:{second}"

    def console_session(self, digest: str) -> str:
        return f"{self.prefix}o:{{o}}:s:{digest}"

    def thread(self, thread_id: str) -> str:
        return f"{self.prefix}th:{{{thread_id}}}"

    def thread_of(self, tenant: str, message_id: str) -> str:
        return f"{self.prefix}th:{{{quote(tenant, safe='')}:{message_id}}}:of"

    def lane(self, name: str) -> LaneKeys:
        base = f"{self.prefix}up:{{{quote(name, safe='')}}}:"
        return LaneKeys(*(base + part for part in ("r", "t", "n", "c", "b")))

    def load(self, name: str) -> str:
        return f"{self.prefix}up:{{{quote(name, safe='')}}}:l"

    def circuit(self, name: str) -> str:
        return f"{self.prefix}cb:{{{quote(name, safe='')}}}"

    def cache_entry(self, fingerprint: str) -> str:
        return f"{self.prefix}c:{{{fingerprint[0]}}}:e:{fingerprint}"

    def cache_lock(self, fingerprint: str) -> str:
        return f"{self.prefix}c:{{{fingerprint[0]}}}:l:{fingerprint}"

    def cache_shard(self, digit: str) -> ShardKeys:
        return ShardKeys(*(f"{self.prefix}c:{{{digit}}}:{part}" for part in ("x", "u", "n", "p")))

    def cache_counts(self, tenant: str) -> str:
        return f"{self.prefix}c:{{t:{quote(tenant, safe='')}}}:n"


@lru_cache(maxsize=4096)  # a request under limits names its scopes twice
def _quoted_scope(name: str) -> str:
    return quote(name, safe=":*")
