// One worker of the stack that people build, in Node: the same service as stack_worker.py, which tells what it does and what it leaves
// out, for `bench-peers.sh --worker node`.
//
// The three looks at Redis go out in one piece, because its client sends what is asked in one turn together. Statements of PostgreSQL are
// prepared once a connection. There is no framework above Node's own server.
//
// Usage: node stack_worker.js PORT REDIS_SOCKET POSTGRES_FOLDER CONNECTIONS VALIDATOR_URL
"use strict";

const http = require("http");
const { Pool } = require("pg");
const { createClient } = require("redis");

const SEEN_S = 86400;
const CACHED_S = 86400;
// As long as the policy of catraca that is compared gives the validator, milliseconds.
const TIMEOUT_MS = 1400;
const INSERT =
  "INSERT INTO decisions (id, payer, payee, amount_centavos, verdict, status, from_cache)" +
  " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING";
const SELECT = "SELECT verdict FROM decisions WHERE id = $1";

const [port, redisSocket, postgresFolder, connections, validatorUrl] = process.argv.slice(2);
const validator = new URL(validatorUrl);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1024, maxFreeSockets: 1024 });
const redis = createClient({ socket: { path: redisSocket } });
const decisions = new Pool({
  host: postgresFolder, user: "catraca", database: "postgres", max: Number(connections), idleTimeoutMillis: 0,
});

// What the validator says about a payer; null without an answer in time.
function ask(payer) {
  return new Promise((resolve) => {
    const options = { host: validator.hostname, port: validator.port, path: `/${payer}`, agent, timeout: TIMEOUT_MS };
    const request = http.get(options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (piece) => (text += piece));
      response.on("end", () => {
        try {
          const { status } = JSON.parse(text);
          resolve(response.statusCode === 200 && ["regular", "suspended"].includes(status) ? status : null);
        } catch {
          resolve(null);
        }
      });
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(null));
  });
}

async function recorded(id) {
  const found = await decisions.query({ name: "select", text: SELECT, values: [id] });
  return found.rows[0]?.verdict;
}

// The verdict, and where the validator's answer came from.
async function decide({ id, payer, payee, amount }) {
  const [listed, isNew, cached] = await Promise.all([
    redis.sendCommand(["SMISMEMBER", "listed", payer, payee]),
    redis.set(`seen:${id}`, "1", { NX: true, EX: SEEN_S }),
    redis.get(`status:${payer}`),
  ]);
  if (isNew === null) {
    const before = await recorded(id);
    if (before) return [before, "record"];
  }
  const source = cached === null ? "validator" : "cache";
  const status = cached ?? (await ask(payer));
  if (cached === null && status !== null) await redis.setEx(`status:${payer}`, CACHED_S, status);
  let verdict = status === null ? "review" : "approve";
  if (listed.includes(1) || status === "suspended") verdict = "deny";
  const values = [id, payer, payee, amount, verdict, status, source === "cache"];
  const done = await decisions.query({ name: "insert", text: INSERT, values });
  return done.rowCount === 1 ? [verdict, source] : [await recorded(id), "record"];
}

const server = http.createServer((request, response) => {
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (piece) => (body += piece));
  request.on("end", async () => {
    let answer = '{"ready":true}';
    let status = 200;
    if (body) {
      try {
        const payment = JSON.parse(body);
        const [verdict, source] = await decide(payment);
        answer = `{"id":"${payment.id}","verdict":"${verdict}","source":"${source}"}`;
      } catch (error) {
        status = 500;
        answer = "{}";
        console.error(error);
      }
    }
    response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(answer) });
    response.end(answer);
  });
});

redis.connect().then(() => server.listen(Number(port), "127.0.0.1"));
