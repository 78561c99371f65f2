// The bench's work done by BullMQ: two steps a job, each a POST with a bearer token, the second put
// on the queue when the first is done, results stored. BullMQ and undici as their pages say.
//
//   bullmq.mjs REDIS_PORT URL TOKEN_FILE COUNT_FILE CONCURRENCY fill JOBS | work
//
// COUNT_FILE holds the steps done so far, 8 bytes, little endian.
import fs from 'node:fs';
import { Queue, Worker } from 'bullmq';
import { Pool } from 'undici';

const [port, url, tokenFile, countFile, concurrency, verb, jobs] = process.argv.slice(2);
const connection = { host: '127.0.0.1', port: Number(port) };
const keep = { removeOnComplete: { count: 1000 }, removeOnFail: { count: 1000 } };
const queue = new Queue('bench', { connection, defaultJobOptions: keep });
const body = { x: 'y'.repeat(150) };

async function fill() {
  for (let i = 0; i < Number(jobs); i += 500)
    await queue.addBulk(Array.from({ length: 500 }, (_, n) =>
      ({ name: 'step', data: { step: 0, body: { ...body, n: i + n } } })));
  await queue.close();
}

function work() {
  const { origin, pathname } = new URL(url);
  const pool = new Pool(origin, { connections: Number(concurrency), pipelining: 1 });
  const authorization = `Bearer ${fs.readFileSync(tokenFile, 'utf8')}`;
  const count = fs.openSync(countFile, 'w');
  const bytes = Buffer.alloc(8);
  let done = 0n;

  setInterval(() => {
    bytes.writeBigUInt64LE(done);
    fs.writeSync(count, bytes, 0, 8, 0);
  }, 5);
  const worker = new Worker('bench', async (job) => {
    const answer = await pool.request({
      path: pathname, method: 'POST', body: JSON.stringify(job.data.body),
      headers: { 'content-type': 'application/json', authorization, 'idempotency-key': job.id },
    });
    const text = await answer.body.text();
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
    if (job.data.step === 0) await queue.add('step', { step: 1, body });
    done++;
    return { status: answer.statusCode, output: text };
  }, { connection, concurrency: Number(concurrency) });
  worker.on('error', (e) => console.error(e.message));
}

await (verb === 'fill' ? fill() : work());
