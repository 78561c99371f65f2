#!/usr/bin/env node
// A complete awq producer in Node: ioredis and @msgpack/msgpack, nothing of awq's.
//
//     producer.mjs put < job.json               by the enqueue script; prints OK, DUPLICATE or BACKLOG_FULL
//     producer.mjs put --bare < job.json        by XADD alone
//     producer.mjs wait ID [--timeout 30]       prints the run's last result, as JSON
//     producer.mjs results GROUP [--count 10]   reads the result stream with a group of one's own
//     producer.mjs encode < job.json            prints the envelope in hex, puts nothing (of an array: each)
//     producer.mjs put --producer NAME --sign KEYFILE [--inbox] < job.json      signed
//
// A job is the JSON form of the envelope (common/PROTOCOL.md); body_base64 stands for a binary body.
// Options: --redis redis://127.0.0.1:6379 --prefix awq --queue default --out results --shards 1
//          --script FILE (enqueue.lua: common/scripts/ of the tree, PREFIX/share/awq/ where awq is installed)
import { createHash, createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { decode, encode } from '@msgpack/msgpack';
import Redis from 'ioredis';

const ENDED = new Set(['done', 'failed', 'dead', 'expired', 'cancelled']);
const BACKLOG_LIMIT = 1_000_000;
const DEDUP_MS = 600_000;
const ID = /^[A-Za-z0-9_:-]{1,64}$/;
const QUEUE = /^[A-Za-z0-9_-]{1,64}$/;

function fail(why, code = 2) {
  console.error(why);
  process.exit(code);
}

function call({ body_base64, ...c }) {
  return body_base64 === undefined ? c : { ...c, body: Buffer.from(body_base64, 'base64') };
}

// The bytes of the field j. Without ignoreUndefined a member left undefined would go out as nil, which
// awq refuses. Not useBigInt64: it writes every number over 2^32 as a float, times too, and awq refuses
// those; integers over 2^53 are for strings, then.
function envelope(job) {
  const whole = { v: 1, ...job, call: call(job.call) };
  if (job.then) whole.then = job.then.map(call);
  return Buffer.from(encode(whole, { ignoreUndefined: true }));
}

// A producer's key, as `awq-ctl producer keygen` writes it: "ed25519 HEX64". Node wants it as PKCS #8
// (RFC 8410 section 7): a fixed head and the seed.
class Signer {
  constructor(name, path) {
    const [kind, seed] = readFileSync(path, 'utf8').split(/\s+/);
    if (kind !== 'ed25519') throw new Error(`${path} is no producer's key`);
    const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.from(seed, 'hex')]);
    this.name = name;
    this.key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  }

  // The field s.
  sign(prefix, queue, j) {
    const head = Buffer.from(`awq job 1\n${prefix}\n${queue}\n${this.name}\n`);
    return Buffer.concat([sign(null, Buffer.concat([head, j]), this.key), Buffer.from(this.name)]);
  }

  // A signed job has times, and an id that is this producer's.
  complete(job) {
    if (!job.id.startsWith(`${this.name}:`)) fail(`job ${job.id}: the ids of producer ${this.name} begin with "${this.name}:"`, 1);
    const now = Date.now();
    return { iat: now, deadline: now + 300_000, ...job };
  }
}

// CRC16/XMODEM, as Redis Cluster has it: "123456789" gives 0x31C3.
function crc16(s) {
  let crc = 0;
  for (const byte of Buffer.from(s)) {
    crc ^= byte << 8;
    for (let i = 0; i < 8; i++) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff;
  }
  return crc;
}

class Awq {
  constructor(url, { prefix = 'awq', shards = 1, script, signer } = {}) {
    this.signer = signer;
    const path = url.replace(/^unix:\/\//, '');
    this.redis = new Redis(path, { maxRetriesPerRequest: 3 });
    this.prefix = prefix;
    this.shards = shards;
    this.path = script; // read when it is needed
  }

  key(run, rest) {
    return `${this.prefix}:{s${crc16(run) % this.shards}}:${rest}`;
  }

  // The fields j and s; s is empty when nothing is signed.
  signed(job, queue) {
    if (!this.signer) return [envelope(job), Buffer.alloc(0)];
    const j = envelope(this.signer.complete(job));
    return [j, this.signer.sign(this.prefix, queue, j)];
  }

  // Enough to have it done. A repeated id is only noticed at its commit.
  putBare(job, queue = 'default') {
    const [j, s] = this.signed(job, queue);
    return this.redis.xadd(this.key(job.id, `q:${queue}`), '*', 'j', j, ...(s.length ? ['s', s] : []));
  }

  // For a producer that may write to nothing else; a worker looks at it and moves it on.
  putInbox(job, queue = 'default') {
    const [j, s] = this.signed(job, queue);
    return this.redis.xadd(this.key(job.id, `in:${this.signer.name}`), '*', 'q', queue, 'j', j, 's', s);
  }

  // OK, DUPLICATE or BACKLOG_FULL. Safe to repeat when the answer got lost.
  async put(job, queue = 'default') {
    this.script ??= readFileSync(this.path);
    this.sha ??= createHash('sha1').update(this.script).digest('hex');
    const keys = [`q:${queue}`, `id:${job.id}`, `run:${job.id}`, 'held', 'due', 'dead'].map((rest) =>
      this.key(job.id, rest));
    const [j, s] = this.signed(job, queue);
    const args = [`${job.id}.0.0`, j, s, job.not_before ?? 0, BACKLOG_LIMIT, DEDUP_MS,
      queue, `${this.prefix}:wake`];
    try {
      return await this.redis.evalsha(this.sha, keys.length, ...keys, ...args);
    } catch (e) {
      if (!e.message.startsWith('NOSCRIPT')) throw e;
      return this.redis.eval(this.script, keys.length, ...keys, ...args);
    }
  }

  // The last result of a run, or null. The run record cannot miss it.
  async wait(run, timeoutMs) {
    const end = Date.now() + timeoutMs;
    for (let pause = 10; ; pause = Math.min(pause * 1.5, 250)) {
      const [state, result] = await this.redis.hmgetBuffer(this.key(run, `run:${run}`), 'st', 'r');
      if (state && ENDED.has(state.toString()) && result) return decode(result);
      if (Date.now() > end) return null;
      await sleep(pause * (0.5 + Math.random() / 2));
    }
  }

  // Results as they come; each is acknowledged once the caller asks for the next one.
  async *results(group, count, out = 'results', reader = 'reader-1') {
    const stream = `${this.prefix}:{s0}:out:${out}`;
    await this.redis.xgroup('CREATE', stream, group, '0', 'MKSTREAM').catch((e) => {
      if (!e.message.includes('BUSYGROUP')) throw e;
    });
    let start = '0'; // first what an earlier life of this reader left unacknowledged
    while (count > 0) {
      const got = await this.redis.xreadgroupBuffer('GROUP', group, reader, 'COUNT', Math.min(count, 100),
        'BLOCK', 5000, 'STREAMS', stream, start);
      const entries = got ? got[0][1] : [];
      if (start === '0' && entries.length === 0) start = '>';
      for (const [entry, fields] of entries) {
        yield decode(fields[1]);
        await this.redis.xack(stream, group, entry);
        count--;
      }
    }
  }
}

// Binary as base64, so that a result can be shown as JSON.
const show = (result) => JSON.stringify(result, (_, v) =>
  v instanceof Uint8Array ? Buffer.from(v).toString('base64') : v);

const { values: o, positionals: [command, name] } = parseArgs({
  allowPositionals: true,
  options: {
    redis: { type: 'string', default: 'redis://127.0.0.1:6379' },
    prefix: { type: 'string', default: 'awq' },
    queue: { type: 'string', default: 'default' },
    out: { type: 'string', default: 'results' },
    shards: { type: 'string', default: '1' },
    script: { type: 'string', default: new URL('../../common/scripts/enqueue.lua', import.meta.url).pathname },
    bare: { type: 'boolean', default: false },
    inbox: { type: 'boolean', default: false },
    producer: { type: 'string' },
    sign: { type: 'string' },
    timeout: { type: 'string', default: '30' },
    count: { type: 'string', default: '10' },
  },
});
if (!o.producer !== !o.sign) fail('--producer and --sign go together');
if (o.inbox && !o.sign) fail('--inbox is for signed jobs: --producer, --sign');
if (!QUEUE.test(o.queue)) fail("a queue's name is 1-64 of A-Z a-z 0-9 _ -"); // no worker looks at another

async function json() {
  try {
    return JSON.parse(await text(process.stdin));
  } catch (e) {
    return fail(`what came in is not JSON: ${e.message}`, 1);
  }
}

// Without an id of its kind, or a call, there is nothing to put.
async function job() {
  const read = await json();
  if (!read?.call || typeof read.call !== 'object') fail('a job is a JSON object with the members id and call', 1);
  if (typeof read.id !== 'string' || !ID.test(read.id)) fail("a job's id is a string, 1-64 of A-Z a-z 0-9 _ : -", 1);
  return read;
}

if (command === 'encode') {
  for (const each of [await json()].flat()) console.log(envelope(each).toString('hex'));
} else {
  const signer = o.sign && new Signer(o.producer, o.sign);
  const awq = new Awq(o.redis, { prefix: o.prefix, shards: Number(o.shards), script: o.script, signer });
  if (command === 'put') {
    const put = o.bare ? 'putBare' : o.inbox ? 'putInbox' : 'put';
    console.log(await awq[put](await job(), o.queue));
  } else if (command === 'results') {
    for await (const result of awq.results(name, Number(o.count), o.out)) console.log(show(result));
  } else if (command === 'wait') {
    const result = await awq.wait(name, Number(o.timeout) * 1000);
    console.log(result ? show(result) : `${name}: not ended yet`);
    process.exitCode = result?.state === 'done' ? 0 : 1;
  } else {
    console.error('usage: producer.mjs put | wait ID | results GROUP | encode; see the head of this file');
    process.exitCode = 2;
  }
  awq.redis.disconnect();
}
