'use strict';
// Calls Demo.Hello of examples/tars_hello, as generated code does. Arguments: endpoint.
const rpc = require('@tars/rpc'), T = require('@tars/stream');
function Greeting() { this.text = ''; this.letters = 0; }
Greeting._classname = 'Demo.Greeting';
Greeting._readFrom = is => { const g = new Greeting(); g.text = is.readString(0, true, ''); g.letters = is.readInt32(1, false, 0); return g; };
Greeting.create = Greeting._readFrom;
function HelloProxy() { this._name = undefined; this._worker = undefined; }
const call = (proxy, name, os) => proxy._worker.tars_invoke(name, os.getBinBuffer()).then(
  d => new T.TarsInputStream(d.response.sBuffer), d => { throw (d.error || d.response.error); });
HelloProxy.prototype.hello = function (name) {
  const os = new T.TarsOutputStream(); os.writeString(1, name);
  return call(this, 'hello', os).then(is => is.readString(0, true));
};
HelloProxy.prototype.greet = function (name) {
  const os = new T.TarsOutputStream(); os.writeString(1, name);
  return call(this, 'greet', os).then(is => ({ ret: is.readInt32(0, true), greeting: is.readStruct(2, true, Greeting) }));
};
const prx = rpc.Communicator.New().stringToProxy(HelloProxy, 'Demo.HelloServer.HelloObj@' + process.argv[2]);
(async () => {
  console.log(await prx.hello('world'));
  const { ret, greeting } = await prx.greet('Tars');
  console.log(ret, greeting.text, greeting.letters);
})().then(() => process.exit(0), e => { console.error(e); process.exit(1); });
