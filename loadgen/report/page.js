'use strict';
// Reads values under the pointer (or by arrow keys) from all charts at once, and unfolds the reasons for print.
(() => {
  addEventListener('beforeprint', () => document.querySelectorAll('#verdict details').forEach((d) => { d.open = true; }));
  const source = document.getElementById('data');
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const charts = [...document.querySelectorAll('.chart')].map((figure) => ({
    index: +figure.dataset.chart,
    plot: figure.querySelector('.plot'),
    cursor: figure.querySelector('.cursor'),
    values: [...figure.querySelectorAll('.legend b')],
    summaries: [...figure.querySelectorAll('.legend b')].map((b) => b.textContent),
  }));

  const digits = (v) => {
    const a = Math.abs(v);
    return String(+v.toFixed(a < 9.995 ? 2 : a < 99.95 ? 1 : 0));
  };
  const scaled = (v) => {
    for (const prefix of ['', 'k', 'M', 'G']) {
      if (Math.abs(v) < 999.5) return [digits(v), prefix];
      v /= 1000;
    }
    return [digits(v), 'T'];
  };
  const seconds = (s) => {
    const a = Math.abs(s);
    if (a === 0) return '0 s';
    if (a < 0.9995e-3) return digits(s * 1e6) + ' µs';
    if (a < 0.9995) return digits(s * 1e3) + ' ms';
    if (a < 59.95) return digits(s) + ' s';
    const t = Math.round(s);
    if (a < 3599.5) return Math.trunc(t / 60) + ' min ' + Math.abs(t % 60) + ' s';
    return Math.trunc(t / 3600) + ' h ' + Math.abs(Math.round(t / 60) % 60) + ' min';
  };
  const formats = {
    bytes: (v) => scaled(v).join(' ') + 'B/s',
    records: (v) => scaled(v).join('') + '/s',
    ms: (v) => seconds(v / 1000),
    s: seconds,
    count: (v) => (Number.isInteger(v) ? v.toLocaleString('en') : scaled(v).join('')),
  };
  const show = (value, format) => {
    if (value === null) return '–';
    if (!Array.isArray(value)) return format(value);
    const [low, high] = [value[0] === null ? 'never' : format(value[0]), value[1] === null ? 'never' : format(value[1])];
    return low === high ? low : low + ' to ' + high;
  };

  const two = (n) => String(n).padStart(2, '0');
  const steps = Math.max(1, Math.ceil(data.span / data.step));
  const name = (i) => {
    const from = data.from + i * data.step;
    const at = new Date(from * 1000).toISOString().slice(11, 19);
    const e = Math.round(from - data.start);
    const a = Math.abs(e);
    return at + '  ' + (e < 0 ? '-' : '+') + (a >= 3600 ? Math.floor(a / 3600) + ':' + two(Math.floor(a / 60) % 60) : Math.floor(a / 60)) + ':' + two(a % 60);
  };
  let at = -1;
  const move = (i, plot) => {
    at = Math.min(steps - 1, Math.max(0, i));
    const x = Math.min(1, ((at + 0.5) * data.step) / data.span);
    for (const c of charts) {
      data.figures[c.index].forEach((f, j) => { c.values[j].textContent = show(f[at], formats[data.units[c.index]]); });
      if (!c.plot) continue;
      c.plot.classList.toggle('active', c.plot === plot);
      c.cursor.hidden = false;
      c.cursor.style.left = 100 * x + '%';
      c.cursor.classList.toggle('flip', x > 0.75);
      c.cursor.dataset.time = name(at);
    }
  };
  const leave = () => {
    for (const c of charts) {
      c.values.forEach((b, j) => { b.textContent = c.summaries[j]; });
      if (!c.plot) continue;
      c.plot.classList.remove('active');
      c.cursor.hidden = true;
    }
  };
  for (const c of charts) {
    if (!c.plot) continue;
    const point = (e) => {
      const box = c.plot.getBoundingClientRect();
      move(Math.floor(((e.clientX - box.left) / box.width) * data.span / data.step), c.plot);
    };
    c.plot.addEventListener('pointermove', point);
    c.plot.addEventListener('pointerdown', point);
    c.plot.addEventListener('pointerleave', leave);
    c.plot.addEventListener('blur', leave);
    c.plot.addEventListener('keydown', (e) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -steps, End: steps }[e.key];
      if (!by) return;
      e.preventDefault();
      move(at < 0 ? (by < 0 ? steps - 1 : 0) : at + by, c.plot);
      document.getElementById('reading').textContent = name(at) + ': ' + c.values.map((b) => b.parentElement.textContent).join(', ');
    });
  }
})();
