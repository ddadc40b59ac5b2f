'use strict';
// A real Tars client that knows nothing but a registry: finds Interop.PyServer.EchoObj there and calls it. Arguments: the
// registry's address, how often. Prints one line of JSON.
const rpc = require('@tars/rpc'), T = require('@tars/stream');
const [locator, count] = [process.argv[2], Number(process.argv[3])];
function Proxy() { this._name = undefined; this._worker = undefined; }
Proxy.prototype.sleep = function (ms) {
  const os = new T.TarsOutputStream(); os.writeInt32(1, ms);
  return this._worker.tars_invoke('sleep', os.getBinBuffer()).then(
    d => new T.TarsInputStream(d.response.sBuffer).readInt32(0, true), d => { throw (d.error || d.response.error); });
};
const communicator = rpc.Communicator.New();
communicator.setProperty('locator', locator);
const prx = communicator.stringToProxy(Proxy, 'Interop.PyServer.EchoObj');
prx._worker.timeout = 100000;
(async () => {
  const got = [];
  for (let i = 0; i < count; i++) got.push(await prx.sleep(i));
  return got;
})().then(
  got => process.stdout.write(JSON.stringify(got) + '\n', () => process.exit(0)),
  error => { process.stderr.write(String((error && error.stack) || JSON.stringify(error)) + '\n', () => process.exit(1)); });
