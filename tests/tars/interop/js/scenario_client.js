'use strict';
// A real Tars client. Arguments: endpoint, object name, scenario, number. Prints one line of JSON.
const crypto = require('crypto'), net = require('net');
const rpc = require('@tars/rpc'), T = require('@tars/stream'), { Inner, Everything, show, sample } = require('./types.js');
const [endpoint, name, scenario, number] = [process.argv[2], process.argv[3], process.argv[4], Number(process.argv[5] || 0)];

function Proxy() { this._name = undefined; this._worker = undefined; }
const nothing = () => null;
for (const [fn, enc, dec] of [
  ['echoStruct', (o, e) => o.writeStruct(1, e), is => [is.readStruct(0, true, Everything), is.readStruct(2, true, Inner)]],
  ['echoBytes', (o, b) => o.writeBytes(1, b), is => is.readBytes(0, true, T.BinBuffer)],
  ['sleep', (o, ms) => o.writeInt32(1, ms), is => is.readInt32(0, true)],
  ['oneways', nothing, is => is.readInt32(0, true)],
  ['fail', nothing, nothing], ['ret', nothing, nothing], ['oneway', nothing, nothing], ['nosuch', nothing, nothing],
  ['tars_ping', nothing, nothing],
]) Proxy.prototype[fn] = function (arg, opts) {
    const os = new T.TarsOutputStream(); enc(os, arg);
    return this._worker.tars_invoke(fn, os.getBinBuffer(), opts).then(d => dec(new T.TarsInputStream(d.response.sBuffer)),
      d => { throw (d.error || d.response.error); });
};
const proxy = (object = name) => {
  const made = rpc.Communicator.New().stringToProxy(Proxy, object + '@' + endpoint);
  made._worker.timeout = 100000;  // a busy machine may need it
  return made;
};
const failure = promise => promise.then(v => ({ value: v === undefined ? null : v }), e => ({ code: e.code, message: String(e.message || '') }));

const scenarios = {
  async struct() {
    const sent = sample(), [got, last] = await proxy().echoStruct(sent);
    return { sent: show(sent), got: show(got), last: show(last) };
  },
  async order() {
    const prx = proxy(), order = [];
    await Promise.all([300, 0, 150, 20].map(ms => prx.sleep(ms).then(v => order.push(v))));
    return order;
  },
  async errors() {
    const prx = proxy(), slow = proxy();
    slow._worker.timeout = 100;
    return { fail: await failure(prx.fail()), ret: await failure(prx.ret()), nosuch: await failure(prx.nosuch()),
      servant: await failure(proxy('Interop.Wrong.Obj').oneways()), slow: await failure(slow.sleep(1000)), after: await prx.sleep(1) };
  },
  async large() {
    const data = crypto.randomBytes(number), got = await proxy().echoBytes(new T.BinBuffer(data));
    return { same: got.toNodeBuffer().equals(data), length: got.length };
  },
  async pipeline() {
    const prx = proxy(), calls = [];
    for (let i = 0; i < number; i++) calls.push(prx.sleep(i % 3));
    const got = await Promise.all(calls);
    return got.every((v, i) => v === i % 3) ? got.length : got;
  },
  async connections() {
    const all = Array.from({ length: number }, () => proxy());
    const got = await Promise.all(all.map((prx, i) => prx.sleep(i % 7)));
    return got.every((v, i) => v === i % 7) ? got.length : got;
  },
  async oneway() {
    const prx = proxy();
    await Promise.all([1, 2, 3].map(() => prx.oneway(undefined, { packetType: 1 }).catch(nothing)));
    await prx.nosuch(undefined, { packetType: 1 }).catch(nothing);
    await prx.tars_ping();
    return prx.oneways();
  },
  // TUP by hand over a socket, as its own demo does it. `number` is the version.
  async tup() {
    const tup = new T.Tup();
    tup.tupVersion = number === 2 ? T.Tup.TUP_COMPLEX : T.Tup.TUP_SIMPLE;
    tup.servantName = name; tup.funcName = 'echoStruct'; tup.requestId = 77;
    tup.writeStruct('e', sample());
    const [, host, port] = /-h (\S+) -p (\d+)/.exec(endpoint);
    const reply = await new Promise((resolve, reject) => {
      let data = Buffer.alloc(0);
      const socket = net.connect(Number(port), host, () => socket.write(tup.encode(true).toNodeBuffer()));
      socket.on('error', reject);
      socket.on('data', more => {
        data = Buffer.concat([data, more]);
        if (data.length >= 4 && data.length >= data.readUInt32BE(0)) { socket.end(); resolve(data); }
      });
    });
    const answer = new T.Tup();
    answer.decode(new T.BinBuffer(reply), true);
    return { code: answer.getTarsResultCode(), sent: show(sample()), got: show(answer.readStruct('', Everything)),
      last: show(answer.readStruct('last', Inner)) };
  },
};
scenarios[scenario]().then(
  result => { process.stdout.write(JSON.stringify(result) + '\n', () => process.exit(0)); },
  error => { process.stderr.write(String((error && error.stack) || JSON.stringify(error)) + '\n', () => process.exit(1)); });
