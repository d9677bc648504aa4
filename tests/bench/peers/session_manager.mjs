// The design that many start with, as one writes it today in Node: a session manager on Redis through ioredis, with every session whole under one key and a set of ids
// per business. `session_manager.mjs REDIS_URL SECONDS CONCURRENCY` fills a business with 20 sessions of 16 KB, asks for its active session in so many loops at once for so
// long, and prints `{"active_per_second": n}`.

import { Redis } from 'ioredis';

const SESSIONS = 20;
const SESSION_BYTES = 16 * 1024;

class RedisSessionManager {
  #redis;
  #prefix;

  constructor(redis, prefix) {
    this.#redis = redis;
    this.#prefix = prefix;
  }

  #session(id) {
    return `${this.#prefix}:session:${id}`;
  }

  #business(id) {
    return `${this.#prefix}:business:${id}`;
  }

  async save(session) {
    const results = await this.#redis
      .multi()
      .set(this.#session(session.id), JSON.stringify(session), 'EX', 86_400)
      .sadd(this.#business(session.businessId), session.id)
      .exec();
    for (const [error] of results) if (error) throw error;
  }

  /** The active session of a business that was used last. */
  async getActive(businessId) {
    const ids = await this.#redis.smembers(this.#business(businessId));
    if (ids.length === 0) return undefined;
    const texts = await this.#redis.mget(ids.map((id) => this.#session(id)));
    const active = texts
      .filter((text) => text !== null)
      .map((text) => JSON.parse(text))
      .filter(({ status }) => status === 'active');
    return active.reduce((newest, session) => (session.lastActivity > newest.lastActivity ? session : newest), active[0]);
  }

  async remove(session) {
    await this.#redis.del(this.#session(session.id), this.#business(session.businessId));
  }
}

/** A session with as many cookies as make its JSON 16 KB long. */
function makeSession(number) {
  const session = {
    id: `session-${number}`,
    businessId: 'crowded',
    email: `u${number}@acme.example`,
    status: 'active',
    lastActivity: 1_763_600_000_000 + number,
    cookies: [],
    note: '',
  };
  const cookie = (at) => ({
    name: `cookie_${at}`,
    value: 'v'.repeat(96),
    domain: '.acme.example',
    path: '/',
    expires: 1_795_000_000.5,
    httpOnly: true,
    secure: true,
    sameSite: 'Lax',
  });
  while (JSON.stringify(session).length < SESSION_BYTES) session.cookies.push(cookie(session.cookies.length));
  session.cookies.pop();
  session.note = 'n'.repeat(SESSION_BYTES - JSON.stringify(session).length);
  return session;
}

const [url, seconds, concurrency] = process.argv.slice(2);
if (!url || !(Number(seconds) > 0) || !(Number(concurrency) >= 1)) {
  console.error('usage: session_manager.mjs REDIS_URL SECONDS CONCURRENCY');
  process.exit(2);
}
const redis = new Redis(url, { maxRetriesPerRequest: 1 });
redis.on('error', () => {}); // the commands that fail say so
const manager = new RedisSessionManager(redis, `peer-${process.pid}`);
const sessions = Array.from({ length: SESSIONS }, (_, number) => makeSession(number));
try {
  for (const session of sessions) await manager.save(session);
  const newest = sessions.at(-1).id;
  let done = 0;
  const start = performance.now();
  const end = start + Number(seconds) * 1000;
  const loop = async () => {
    while (performance.now() < end) {
      const { id } = await manager.getActive('crowded');
      if (id !== newest) throw new Error(`the active session is ${id}, and not ${newest}`);
      done++;
    }
  };
  await Promise.all(Array.from({ length: Number(concurrency) }, loop));
  console.log(JSON.stringify({ active_per_second: done / ((performance.now() - start) / 1000) }));
} finally {
  for (const session of sessions) await manager.remove(session).catch(() => {});
  redis.disconnect();
}
