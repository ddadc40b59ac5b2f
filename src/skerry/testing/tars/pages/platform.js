'use strict';
// Shows /state every second and sends what is ordered. All texts go in as text.
const $ = id => document.getElementById(id);
const element = (name, text, ...children) => {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  made.append(...children);
  return made;
};
const row = (...cells) => element('tr', null, ...cells.map(cell => cell instanceof Node ? element('td', null, cell) : element('td', cell)));
let shown = {};
const commands = {};  // what is typed survives a change of the server's state
const changed = (name, value) => {
  const text = JSON.stringify(value);
  if (shown[name] === text) return false;
  shown[name] = text;
  return true;
};

async function send(server, what, body) {
  $('said').textContent = '...';
  try {
    const answer = await fetch(`servers/${encodeURIComponent(server)}/${what}`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
    $('said').textContent = (await answer.json()).said;
  } catch (error) { $('said').textContent = String(error); }
  look();
}

function serverBlock(server) {
  const state = element('span', server.state + (server.pid ? `, pid ${server.pid}` : ''));
  state.className = server.state === 'active' ? 'active' : 'inactive';
  const block = element('div', null, element('strong', server.name), state);
  block.className = 'server';
  for (const order of ['start', 'stop', 'restart']) {
    const button = element('button', order);
    button.addEventListener('click', () => send(server.name, 'order', { order }));
    block.append(button);
  }
  const form = element('form'), input = element('input');
  input.value = commands[server.name] ?? 'tars.viewstatus';
  input.addEventListener('input', () => { commands[server.name] = input.value; });
  input.setAttribute('aria-label', `Command to ${server.name}`);
  form.append(input, element('button', 'send command'));
  form.addEventListener('submit', event => { event.preventDefault(); send(server.name, 'command', { command: input.value }); });
  block.append(form);
  for (const adapter of server.adapters) {
    if (!adapter.url) { block.append(element('code', `${adapter.object}@${adapter.endpoint}`)); continue; }
    const link = element('a', `${adapter.object}: ${adapter.url}`);
    link.href = adapter.url;
    block.append(link);
  }
  return block;
}

function show(state) {
  $('locator').textContent = state.locator;
  const servers = state.servers.map(({ kept_alive, ...rest }) => rest);
  if (changed('servers', servers)) {
    $('servers').replaceChildren(...state.servers.map(serverBlock));
    document.querySelector('#publish select').replaceChildren(...state.servers.map(server => element('option', server.name)));
  }
  if (changed('files', state.files)) $('files').replaceChildren(...Object.entries(state.files).map(([name, text]) => {
    const button = element('button', name);
    button.addEventListener('click', () => {
      const form = $('publish'), at = name.indexOf('/');
      form.server.value = name.slice(0, at); form.elements.name.value = name.slice(at + 1); form.text.value = text;
    });
    return button;
  }));
  if (changed('objects', state.objects)) $('objects').replaceChildren(...Object.entries(state.objects).flatMap(([name, found]) =>
    found.map(each => {
      const mark = element('span', each.active ? 'active' : 'inactive');
      mark.className = mark.textContent;
      return row(name, each.endpoint, mark);
    })));
  if (changed('calls', state.calls)) $('calls').replaceChildren(...state.calls.toReversed().map(call => row(call.called, call.function, call.caller,
    call.side, call.succeeded, call.late, call.failed, call.succeeded ? (call.milliseconds / call.succeeded).toFixed(1) : '')));
  if (changed('properties', state.properties)) {
    const newest = new Map(state.properties.map(({ module, name, ...values }) => [`${module} ${name}`, [module, name, values]]));
    $('properties').replaceChildren(...[...newest.values()].map(([module, name, values]) =>
      row(module, name, Object.entries(values).map(([policy, value]) => `${policy} ${value}`).join(', '))));
  }
  if (changed('log', state.log)) {
    $('log').textContent = state.log.flatMap(each => each.lines.map(line => `${each.log}: ${line}`)).slice(-500).join('');
    $('log').scrollTop = $('log').scrollHeight;
  }
  if (changed('notes', state.notes)) $('notes').textContent = state.notes.join('\n');
}

async function look() {
  try {
    show(await (await fetch('state')).json());
    $('connection').textContent = '';
  } catch (error) { $('connection').textContent = 'The platform does not answer.'; }
}
$('publish').addEventListener('submit', event => {
  event.preventDefault();
  const form = event.target;
  send(form.server.value, 'publish', { name: form.elements.name.value, text: form.text.value });
});
look();
setInterval(look, 1000);
