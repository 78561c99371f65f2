/*
 * log_events.h - the closed list of events that awq logs: X(ID, "dotted.name", "what it means").
 * Included several times, hence no guard. A name, once released, keeps its meaning: people grep and
 * alert on them. New ones go to the end of their group.
 */

/* The life of a process. */
X(WORKER_START, "worker.start", "the process starts; its version and settings that matter")
X(WORKER_READY, "worker.ready", "connected, checked, and taking jobs")
X(WORKER_DRAIN, "worker.drain", "asked to stop: takes nothing new, finishes what it holds")
X(WORKER_STOP, "worker.stop", "the process ends; with what it left behind, if anything")
X(WORKER_PAUSED, "worker.paused",
  "fetching stopped: asked to, or liveness not confirmed for a lease")
X(WORKER_RESUMED, "worker.resumed", "fetching again")
X(WORKER_FAILED, "worker.failed", "cannot go on; the process ends with an error")
X(PROBE_LISTENING, "probe.listening", "probes and metrics are served on this port")
X(PROBE_FAILED, "probe.failed", "a health check began to fail; says which and why")
X(CONFIG_RELOADED, "config.reloaded", "settings re-read; what was applied and what needs a restart")
X(CONFIG_BAD, "config.bad", "settings refused; at a reload the old ones stay")
X(KEYS_RELOADED, "keys.reloaded", "the key file was read again; beats say which keys seal now")
X(LOG_DROPPED, "log.dropped", "lines lost because the reader of the log was too slow; n = how many")
X(CLOCK_OFF, "clock.off",
  "this machine's clock, by which certificates are judged and lines dated, is ahead_ms ahead of "
  "Redis'")
X(CLOCK_RIGHT, "clock.right", "this machine's clock is near to Redis' again")

/* Links to Redis. */
X(REDIS_UP, "redis.up", "a link is up and the server passed the checks")
X(REDIS_DOWN, "redis.down", "a link is gone; it is tried again with backoff")
X(REDIS_REFUSED, "redis.refused", "the server answers but must not be used; says why")
X(REDIS_ERROR, "redis.error", "an error reply that nobody expected")

/* Jobs. */
X(JOB_TAKEN, "job.taken", "a job was taken from a queue")
X(JOB_STARTED, "job.started", "its call begins")
X(STEP_STATE, "step.state", "debug: a step went from one state to the next")
X(JOB_COMMITTED, "job.committed", "its result is recorded and the next step queued")
X(JOB_RETRY, "job.retry", "the attempt failed and is put back for later")
X(JOB_PARKED, "job.parked", "set aside until a token, a lane or a consent is there")
X(JOB_RELEASED, "job.released", "given back to its queue, the attempt not counted")
X(JOB_BURIED, "job.buried", "became a dead letter; needs a person")
X(JOB_EXPIRED, "job.expired", "its deadline passed before it could start")
X(JOB_CANCELLED, "job.cancelled", "taken back by its owner")
X(JOB_LOST, "job.lost", "this worker lost its lease on the job and wrote nothing")
X(JOB_DUPLICATE, "job.duplicate", "the step was already done; the repeat was dropped")
X(JOB_DROPPED, "job.dropped",
  "told to stop at once, without a journal: n outcomes Redis had not taken; their calls are made "
  "again")

/* Tokens and connections. */
X(TOKEN_RENEWING, "token.renewing", "this worker holds the lease and asks for a new access token")
X(TOKEN_RENEWED, "token.renewed", "a new access token is stored")
X(TOKEN_FAILED, "token.failed", "the renewal failed; it is tried again after a backoff")
X(TOKEN_NEEDS_CONSENT, "token.needs_consent",
  "the account must be linked again; its jobs are parked")
X(TOKEN_LATE, "token.late", "a token came after the lease was lost, or could not be stored yet")
X(TOKEN_FORGOTTEN, "token.forgotten",
  "Redis has an older version than it had: a failover, a crash, or somebody put an old record back")
X(TOKEN_RESTORED, "token.restored", "what Redis had forgotten of a token was put back")
X(TOKEN_NOT_COPIED, "token.not_copied",
  "a new access token is stored and in use, and too few replicas have it: a failover now would "
  "lose it")
X(TOKEN_REFUSED, "token.refused", "a fresh access token was refused by the API")
X(TOKEN_END_UNREAD, "token.end_unread",
  "a new access token's expiry could not be read; token.default_lifetime_s is taken")
X(CONN_CHANGED, "conn.changed", "a connection was linked, changed, disabled or removed")
X(LANE_CLOSED, "lane.closed", "a connection's calls are held back: cool-down or limit")
X(LANE_OPENED, "lane.opened", "its calls go on")

/* Producers who sign their jobs. */
X(PRODUCER_BROKEN, "producer.broken",
  "a producer's record was not written with this key file: its jobs become dead letters")
X(INBOX_REFUSED, "inbox.refused", "a job in a producer's inbox failed its checks and was deleted")
X(INBOX_DUPLICATE, "inbox.duplicate",
  "a job in a producer's inbox has an id that is known (put twice, or by somebody else) and was "
  "deleted")

/* The audit streams. */
X(AUDIT_CHECKPOINT, "audit.checkpoint",
  "how far a chain of the audit stream is, for `awq-ctl audit verify` to compare with")
X(AUDIT_DROPPED, "audit.dropped",
  "too many lines of the audit stream wait for Redis: further ones are only counted")

/* The housekeeper: one elected worker per shard. */
X(HOUSE_ELECTED, "house.elected", "this worker keeps house for the shard")
X(HOUSE_DEPOSED, "house.deposed", "another worker does so now")
X(HOUSE_RECLAIMED, "house.reclaimed", "jobs of a worker that is gone are ready again")
X(HOUSE_SKIPPED, "house.skipped",
  "jobs that nobody would have taken: the queue's group had passed them by")
X(HOUSE_REFUSED, "house.refused",
  "a queue did not take jobs that are due; they are tried again in a minute, and doctor says why")
X(HOUSE_PROMOTED, "house.promoted", "due or woken jobs are ready again")
X(HOUSE_GROUP_RECREATED, "house.group_recreated", "a consumer group was gone and is made again")
X(HOUSE_PURGED, "house.purged", "old dead letters aged out")
X(HOUSE_TURNS, "house.turns",
  "a queue has a backlog, and its tenants take turns; who has most waiting, and how much")
X(HOUSE_JUNK, "house.junk", "what lay among the jobs, lots or workers and is none was set aside")

/* The journal: outcomes kept on disk while Redis is away. */
X(JOURNAL_OPENED, "journal.opened", "the journal file is in use")
X(JOURNAL_KEPT, "journal.kept", "outcomes are kept because Redis is away")
X(JOURNAL_REPLAYED, "journal.replayed", "outcomes kept earlier are committed")
X(JOURNAL_BAD, "journal.bad", "a record could not be read or written")
