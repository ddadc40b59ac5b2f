// Clients of the npm registry, as they are, against livekv: `node clients.mjs URL` says one line for each check.
import { EventSource } from "eventsource";
import { Client, Pool, request } from "undici";
import WebSocket from "ws";

const url = process.argv[2];
const check = (name, good) => console.log(`${good ? "ok" : "failed"} ${name}`);
const told = (listen) => new Promise((done) => listen(done));

const put = await request(`${url}/values/a`, { method: "PUT", body: "one" });
check("undici: a write", put.statusCode === 200);
const pool = new Pool(url, { connections: 2, pipelining: 10 });
const answers = await Promise.all(Array.from({ length: 200 }, async () => {
  const answer = await pool.request({ path: "/values/a", method: "GET" });
  return answer.statusCode === 200 && JSON.parse(await answer.body.text()).value === "one";
}));
check("undici: 200 reads, pipelined", answers.every(Boolean));
async function* parts() { for (const part of ["t", "w", "o"]) yield part; }
const streamed = await request(`${url}/values/a`, { method: "PUT", body: parts() });
check("undici: a body in chunks", streamed.statusCode === 200);
const expecting = new Client(url);
const expected = await expecting.request({ path: "/values/a", method: "HEAD" });
check("undici: HEAD has no body", expected.statusCode === 200 && (await expected.body.text()) === "");

const socket = new WebSocket(`${url.replace("http", "ws")}/events?snapshot=1`);
const heard = told((done) => socket.on("message", (data) => String(data).includes("news") && done(true)));
await told((done) => socket.on("open", done));
const source = new EventSource(`${url}/events`);
const streamedEvent = told((done) => { source.onmessage = (event) => event.data.includes("news") && done(event.lastEventId); });
await told((done) => { source.onopen = done; });
await request(`${url}/values/b`, { method: "PUT", body: "news" });
check("ws: an event", await heard);
check("eventsource: an event with its position", /:\d+$/.test(await streamedEvent));
const pong = told((done) => socket.on("pong", (data) => done(String(data))));
socket.ping("p");
check("ws: a pong", (await pong) === "p");
const closed = told((done) => socket.on("close", (code) => done(code)));
socket.close(1000);
check("ws: the close is answered", (await closed) === 1000);
source.close();
process.exit(0);
