// What a person is asked: who they are, and whether they consent.
import * as pages from './pages.mjs';

async function form(req) {
  const parts = [];
  for await (const part of req) parts.push(part);
  return Object.fromEntries(new URLSearchParams(Buffer.concat(parts).toString()));
}

export class Interactions {
  constructor(provider, accounts) {
    this.provider = provider;
    this.accounts = accounts;
  }

  // Answers /interaction/...; everything else goes on to the provider.
  async around(ctx, next) {
    if (!ctx.path.startsWith('/interaction/')) return next();
    ctx.set('cache-control', 'no-store');
    ctx.type = 'html';
    try {
      const details = await this.provider().interactionDetails(ctx.req, ctx.res);
      if (ctx.method === 'POST') await this.submitted(ctx, details);
      else ctx.body = this.shown(ctx, details);
    } catch (err) {
      ctx.status = err.status ?? 500;
      ctx.body = pages.error(err.error_description ?? err.message);
    }
    return undefined;
  }

  shown(ctx, { prompt, params }, problem = '') {
    if (prompt.name === 'login') return pages.signIn(ctx.path, problem);
    return pages.consent(ctx.path, params.client_id, params.scope);
  }

  async submitted(ctx, details) {
    const { action, login, password } = await form(ctx.req);
    if (action !== 'continue') {
      return this.finish(ctx, { error: 'access_denied', error_description: 'the person has refused' });
    }
    if (details.prompt.name === 'consent') {
      return this.finish(ctx, { consent: { grantId: await this.granted(details) } });
    }
    const account = Object.hasOwn(this.accounts(), login) ? this.accounts()[login] : undefined;
    if (account?.password !== password) {
      ctx.body = this.shown(ctx, details, 'Wrong login or password');
      return undefined;
    }
    return this.finish(ctx, { login: { accountId: account.sub } });
  }

  async granted({ grantId, params, prompt, session }) {
    const { Grant } = this.provider();
    const holder = { accountId: session.accountId, clientId: params.client_id };
    const grant = grantId ? await Grant.find(grantId) : new Grant(holder);
    if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
    if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
    return grant.save();
  }

  async finish(ctx, result) {
    const next = await this.provider().interactionResult(ctx.req, ctx.res, result);
    ctx.status = 303;
    ctx.redirect(next);
  }
}
