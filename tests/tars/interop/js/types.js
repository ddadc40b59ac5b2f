'use strict';
// The structs of Interop.tars, as the Tars code generator for JavaScript writes them.
const T = require('@tars/stream');

function struct(name, fields) {
  const S = function () { for (const [, key, , make] of fields) this[key] = make(); };
  S._classname = 'Interop.' + name;
  S.prototype._classname = S._classname;
  S._write = (os, tag, value) => os.writeStruct(tag, value);
  S._read = (is, tag, def) => is.readStruct(tag, true, def);
  S._readFrom = is => {
    const value = new S();
    for (const [tag, key, kind] of fields) value[key] = kind.read(is, tag);
    return value;
  };
  S.prototype._writeTo = function (os) { for (const [tag, key, kind] of fields) kind.write(os, tag, this[key]); };
  S.new = () => new S();
  S.create = is => S._readFrom(is);
  return S;
}
const plain = name => ({ read: (is, tag) => is['read' + name](tag, true), write: (os, tag, v) => os['write' + name](tag, v) });
const list = proto => ({ read: (is, tag) => is.readList(tag, true, T.List(proto)), write: (os, tag, v) => os.writeList(tag, v) });
const map = (k, v) => ({ read: (is, tag) => is.readMap(tag, true, T.Map(k, v)), write: (os, tag, value) => os.writeMap(tag, value) });
const nested = proto => ({ read: (is, tag) => is.readStruct(tag, true, proto), write: (os, tag, v) => os.writeStruct(tag, v) });
const bytes = { read: (is, tag) => is.readBytes(tag, true, T.BinBuffer), write: (os, tag, v) => os.writeBytes(tag, v) };
const optional = (kind, name, def) => ({ read: (is, tag) => is['read' + name](tag, false, def), write: kind.write });
// A long as text, so that nothing beyond 2**53 is lost.
const long = { read: (is, tag) => is.readInt64(tag, true, '0', true), write: (os, tag, v) => os.writeInt64(tag, v, true) };

const Inner = struct('Inner', [
  [0, 'id', plain('Int32'), () => 0],
  [1, 'name', optional(plain('String'), 'String', 'dflt'), () => 'dflt'],
]);
const Everything = struct('Everything', [
  [0, 'flag', plain('Boolean'), () => false],
  [1, 'tiny', plain('Int8'), () => 0],
  [2, 'utiny', plain('UInt8'), () => 0],
  [3, 'small', plain('Int16'), () => 0],
  [4, 'usmall', plain('UInt16'), () => 0],
  [5, 'medium', plain('Int32'), () => 0],
  [6, 'umedium', plain('UInt32'), () => 0],
  [7, 'big', long, () => '0'],
  [8, 'single', plain('Float'), () => 0],
  [9, 'exact', plain('Double'), () => 0],
  [10, 'text', plain('String'), () => ''],
  [11, 'colour', plain('Int32'), () => 0],
  [12, 'raw', bytes, () => new T.BinBuffer()],
  [13, 'texts', list(T.String), () => new T.List(T.String)],
  [14, 'inners', list(Inner), () => new T.List(Inner)],
  [15, 'numbers', map(T.String, T.List(T.Int32)), () => new T.Map(T.String, T.List(T.Int32))],
  [16, 'byId', map(T.Int32, Inner), () => new T.Map(T.Int32, Inner)],
  [17, 'inner', nested(Inner), () => new Inner()],
  [18, 'matrix', list(T.List(T.Double)), () => new T.List(T.List(T.Double))],
  [255, 'last', optional(plain('Boolean'), 'Boolean', false), () => false],
]);

// A struct as plain JSON, for comparing and printing.
function show(value) {
  if (value instanceof T.BinBuffer) return value.toNodeBuffer().toString('hex');
  if (value && value.forEach && value.insert) { const o = {}; value.forEach((k, v) => { o[k] = show(v); }); return o; }
  if (value && value.forEach && value.push && !Array.isArray(value)) { const a = []; value.forEach(v => { a.push(show(v)); }); return a; }
  if (value instanceof Inner || value instanceof Everything) {
    const o = {};
    for (const key of Object.keys(value)) o[key] = show(value[key]);
    return o;
  }
  return value;
}
function inner(id, name) { const v = new Inner(); v.id = id; v.name = name; return v; }
function sample() {
  const e = new Everything();
  Object.assign(e, { flag: true, tiny: -128, utiny: 255, small: -32768, usmall: 65535, medium: -2147483648, umedium: 4294967295,
    big: '9223372036854775807', single: -2.25, exact: 3.141592653589793, text: 'h\u00e9llo \u4f60\u597d', colour: 6, last: true });
  e.raw = new T.BinBuffer(Buffer.from([0, 1, 254, 255]));
  ['a', '', 'x'.repeat(300)].forEach(t => e.texts.push(t));
  e.inners.push(inner(1, 'one')); e.inners.push(inner(-1, ''));
  const seven = new T.List(T.Int32); [7, -70000, 0].forEach(n => seven.push(n));
  e.numbers.insert('seven', seven); e.numbers.insert('none', new T.List(T.Int32));
  e.byId.insert(300, inner(300, 'three hundred'));
  e.inner = inner(2, 'two');
  const row = new T.List(T.Double); [0.5, -0.5].forEach(n => row.push(n));
  e.matrix.push(row); e.matrix.push(new T.List(T.Double));
  return e;
}
module.exports = { Inner, Everything, show, sample, inner };
