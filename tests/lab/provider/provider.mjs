// The OpenID provider of the tests: oidc-provider over HTTPS, with plain pages, and disturbances that tests ask for.
//
//   provider.mjs DIRECTORY      the directory that build-provider made
//
// Each line on standard input is {"do": NAME, "with": {...}} and is answered by one line, {"answer": ...} or
// {"error": TEXT}. The first one is "start". The end of standard input is the end of the provider.
import { Console } from 'node:console';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

import { Disturbances } from './disturbances.mjs';
import { Interactions } from './interactions.mjs';
import { altered, newKeys } from './keys.mjs';
import * as pages from './pages.mjs';
import { Store } from './store.mjs';

// Standard output belongs to the answers.
globalThis.console = new Console(process.stderr, process.stderr);

const modules = createRequire(`${process.argv[2]}/`);
const { default: Provider, interactionPolicy } = await import(pathToFileURL(modules.resolve('oidc-provider')));

const defaults = {
  deviceLifetime: 600, // seconds
  idTokenLifetime: 3600, // seconds
  interval: 1, // seconds; null: none is named, as oidc-provider does by itself
  enforceInterval: true, // polls that come sooner are answered with slow_down
  // Which wishes to sign in again count in the device flow. stock, as with oidc-provider by itself: max_age from 1 up,
  // while prompt=login and max_age=0 are silently dropped. full: those as well. ignored: none.
  reauthentication: 'stock',
  tokenClaims: {}, // replace claims of ID tokens; null: the claim is left out
  tokenHeader: {},
};
const settings = structuredClone(defaults);

let accounts = {};
let clients = [];
let issuer = '';
let keys = newKeys();
let provider;
let server;
const disturbances = new Disturbances(settings);
const wantedPrompts = new Map(); // what oidc-provider drops in the device flow: id of a device code -> prompt

const html = (ctx, body) => {
  ctx.type = 'html';
  ctx.body = body;
};

// The checks that decide whether a person has to sign in, with ours in place of max_age's.
function policy() {
  const base = interactionPolicy.base();
  const { checks } = base.get('login');
  const stock = checks.get('max_age');
  checks.remove('max_age');
  const check = (ctx) => {
    const { deviceCode, result } = ctx.oidc;
    const mode = deviceCode ? settings.reauthentication : 'stock';
    if (mode === 'ignored') return interactionPolicy.Check.NO_NEED_TO_PROMPT;
    const wanted = wantedPrompts.get(deviceCode?.jti) ?? '';
    const again = mode === 'full' && wanted.split(' ').includes('login') && !result?.login;
    return again || stock.check(ctx);
  };
  checks.add(new interactionPolicy.Check('max_age', 'End-User authentication could not be obtained', check));
  return base;
}

function configuration() {
  return {
    adapter: Store,
    clients,
    jwks: { keys: structuredClone(keys) },
    cookies: { keys: ['a key of the tests'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'] },
    conformIdTokenClaims: false, // e-mail in the ID token, as nearly all large providers do
    pkce: { required: () => false }, // headscale has it off unless told
    findAccount: (_, sub) => {
      const found = Object.values(accounts).find((account) => account.sub === sub);
      return found && { accountId: sub, claims: () => found.claims };
    },
    interactions: { policy: policy(), url: (_, { uid }) => `/interaction/${uid}` },
    ttl: {
      AccessToken: 3600, AuthorizationCode: 60, Grant: 86400, Interaction: 3600, Session: 86400,
      DeviceCode: () => settings.deviceLifetime,
      IdToken: () => settings.idTokenLifetime,
    },
    features: {
      devInteractions: { enabled: false },
      deviceFlow: {
        enabled: true,
        userCodeInputSource: (ctx, form, out, err) => html(ctx, pages.enterCode(form, err?.message)),
        userCodeConfirmSource: (ctx, form, client, _, userCode) => (
          html(ctx, pages.confirmDevice(form, client.clientId, userCode))),
        successSource: (ctx) => html(ctx, pages.page('Approved', '<p>Go back to your terminal.</p>')),
      },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => html(ctx, pages.signOut(form)),
        postLogoutSuccessSource: (ctx) => html(ctx, pages.page('Signed out', '')),
      },
    },
    renderError: (ctx, out) => html(ctx, pages.error(`${out.error}: ${out.error_description}`)),
  };
}

// What the provider answers is changed here, on its way out.
async function amend(ctx, next) {
  await next();
  const { route, entities } = ctx.oidc ?? {};
  if (route === 'device_authorization' && entities.DeviceCode) {
    if (settings.interval !== null) ctx.body.interval = settings.interval;
    const prompt = ctx.oidc.body.max_age === '0' ? 'login' : ctx.oidc.body.prompt;
    if (prompt) wantedPrompts.set(entities.DeviceCode.jti, prompt);
  }
  const { tokenClaims, tokenHeader } = settings;
  if (route === 'token' && ctx.body?.id_token && Object.keys({ ...tokenClaims, ...tokenHeader }).length > 0) {
    ctx.body.id_token = altered(ctx.body.id_token, tokenClaims, tokenHeader, keys);
  }
}

function renew() {
  provider = new Provider(issuer, configuration());
  const interactions = new Interactions(() => provider, () => accounts);
  provider.use((ctx, next) => disturbances.around(ctx, next));
  provider.use(amend);
  provider.use((ctx, next) => interactions.around(ctx, next));
  provider.on('server_error', (ctx, err) => console.error(err));
}

const commands = {
  start(given) {
    ({ accounts, clients, issuer } = given);
    renew();
    const answer = (req, res) => provider.callback()(req, res);
    server = createServer({ cert: given.certificate, key: given.privateKey }, answer);
    const { hostname, port } = new URL(issuer);
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(Number(port), hostname, () => resolve(null));
    });
  },
  settings: (changed) => Object.assign(settings, changed),
  rotate({ keepOld }) {
    keys = [...newKeys(), ...(keepOld ? keys : [])];
    renew();
    return keys.map(({ kid }) => kid);
  },
  certificate({ certificate, privateKey }) {
    server.setSecureContext({ cert: certificate, key: privateKey });
    server.closeAllConnections();
    return null;
  },
  disturb: ({ endpoint, ...how }) => disturbances.add(endpoint, how),
  restore() {
    Object.assign(settings, structuredClone(defaults));
    disturbances.clear();
    return null;
  },
  requests: () => disturbances.requests,
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, with: given } = JSON.parse(line);
  let answer;
  try {
    answer = { answer: (await commands[name](given)) ?? null };
  } catch (err) {
    answer = { error: String(err.stack) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
