'use strict';
// Interop.Echo by a real Tars server. Arguments: endpoint, object name.
const rpc = require('@tars/rpc'), T = require('@tars/stream'), { Everything } = require('./types.js');
const endpoint = process.argv[2] || 'tcp -h 127.0.0.1 -p 14010 -t 60000', name = process.argv[3] || 'Interop.JsServer.EchoObj';
let oneways = 0;
function Imp() {}
Imp.prototype.initialize = function () {};
Imp.prototype.onDispatch = function (current, func, bin) {           // tars v1 bodies only
  const is = new T.TarsInputStream(bin), os = new T.TarsOutputStream();
  const done = () => { current.doResponse(os.getBinBuffer()); return 0; };
  if (func === 'tars_ping') { os.writeInt32(0, 0); return done(); }
  if (func === 'echoAll') {
    const b = is.readBoolean(1, true), y = is.readInt8(2, true), s = is.readInt16(3, true), i = is.readInt32(4, true),
      l = is.readInt64(5, true), f = is.readFloat(6, true), d = is.readDouble(7, true), t = is.readString(8, true),
      bytes = is.readBytes(9, true, T.BinBuffer), li = is.readList(10, true, T.List(T.Int32)),
      m = is.readMap(11, true, T.Map(T.String, T.String));
    os.writeInt32(0, i); os.writeBoolean(12, b); os.writeInt8(13, y); os.writeInt16(14, s); os.writeInt64(15, l);
    os.writeFloat(16, f); os.writeDouble(17, d); os.writeString(18, t); os.writeBytes(19, bytes); os.writeList(20, li); os.writeMap(21, m);
    return done();
  }
  if (func === 'echoStruct') {
    const e = is.readStruct(1, true, Everything);
    os.writeStruct(0, e); os.writeStruct(2, e.inner);
    return done();
  }
  if (func === 'echoBytes') { os.writeBytes(0, is.readBytes(1, true, T.BinBuffer)); return done(); }
  if (func === 'sleep') { const ms = is.readInt32(1, true); os.writeInt32(0, ms); setTimeout(done, ms); return 0; }
  if (func === 'fail') throw new Error('boom');
  if (func === 'ret') { current.sendErrorResponse(5, 'five'); return 0; }
  if (func === 'told') { os.writeString(0, current._origin.status.get(is.readString(1, true)) || ''); return done(); }
  if (func === 'oneway') { oneways += 1; return 0; }
  if (func === 'oneways') { os.writeInt32(0, oneways); return done(); }
  return -3;
};
rpc.server.createServer(Imp).start({ name: name + 'Adapter', servant: name, endpoint, protocol: 'tars', maxConns: 1000 });
console.log('up');
