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
  const starts = server.starts > 1 ? `, started ${server.starts} times` : '';
  const state = element('span', server.state + (server.pid ? `, pid ${server.pid}` : '') + starts);
  state.className = server.state === 'active' ? 'active' : 'inactive';
  const line = element('div', null, element('strong', server.name), state), where = element('ul');
  line.className = 'line';
  for (const order of ['start', 'stop', 'restart']) {
    const button = element('button', order);
    button.addEventListener('click', () => send(server.name, 'order', { order }));
    line.append(button);
  }
  const form = element('form'), input = element('input');
  input.value = commands[server.name] ?? 'tars.viewstatus';
  input.addEventListener('input', () => { commands[server.name] = input.value; });
  input.setAttribute('aria-label', `Command to ${server.name}`);
  form.append(input, element('button', 'send command'));
  form.addEventListener('submit', event => { event.preventDefault(); send(server.name, 'command', { command: input.value }); });
  line.append(form);
  for (const adapter of server.adapters) {
    const link = element(adapter.url ? 'a' : 'code', adapter.url ? `${adapter.object}: ${adapter.url}` : `${adapter.object}@${adapter.endpoint}`);
    if (adapter.url) link.href = adapter.url;
    where.append(element('li', null, link));
  }
  const block = element('article', null, line, where);
  if (server.problem) {
    const problem = element('p', `It has ended: ${server.problem}`);
    problem.className = 'inactive';
    block.append(problem);
  }
  block.append(element('small', `Its log: ${server.log}`));
  block.className = 'server';
  return block;
}

function show(state) {
  $('locator').textContent = state.locator;
  const servers = state.servers.map(({ kept_alive, ...rest }) => rest);
  if (changed('servers', servers)) {
    $('servers').replaceChildren(...state.servers.map(serverBlock));
    const choice = document.querySelector('#publish select'), chosen = choice.value;
    choice.replaceChildren(...state.servers.map(server => element('option', server.name)));
    if (chosen) choice.value = chosen;
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
  if (changed('notes', state.notes)) {
    $('notes').textContent = state.notes.join('\n');
    $('notes').scrollTop = $('notes').scrollHeight;
  }
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
