// The pages that a person sees, as plain as they can be. A page's title says which one it is; buttons have values.

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

export const escaped = (text) => String(text ?? '').replace(/[&<>"']/g, (character) => ESCAPES[character]);

export function page(title, body) {
  return `<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>${escaped(title)}</title></head>
<body><main><h1>${escaped(title)}</h1>
${body}
</main></body>
</html>
`;
}

export const error = (text) => page('Error', `<p>${escaped(text)}</p>`);

const button = (value, text, name = 'action') => (
  `<button type="submit" name="${name}" value="${value}">${text}</button>`);

export const signIn = (action, problem) => page('Sign in', `<p role="alert">${escaped(problem)}</p>
<form method="post" action="${escaped(action)}">
<label>Login <input name="login"></label>
<label>Password <input name="password" type="password"></label>
${button('continue', 'Sign in')} ${button('cancel', 'Cancel')}
</form>`);

export const consent = (action, client, scopes) => page('Consent', `
<p>${escaped(client)} asks for: ${escaped(scopes)}</p>
<form method="post" action="${escaped(action)}">
${button('continue', 'Allow')} ${button('cancel', 'Cancel')}
</form>`);

// oidc-provider's form has the hidden fields; the buttons are put into it.
const withButtons = (form, buttons) => form.replace('</form>', `${buttons}</form>`);

export const enterCode = (form, problem) => page('Enter the code', `<p role="alert">${escaped(problem)}</p>
${withButtons(form, button('continue', 'Continue'))}`);

export function confirmDevice(form, client, userCode) {
  const asking = form.replace(/<input type="hidden" name="confirm"[^>]*>/, '');
  const buttons = `${button('yes', 'Yes, this is mine', 'confirm')} ${button('yes', 'No', 'abort')}`;
  return page('Confirm the device', `<p>${escaped(client)} shows this code:</p>
<p id="code">${escaped(userCode)}</p>
${withButtons(asking, buttons)}`);
}

export const signOut = (form) => page('Sign out', withButtons(form, button('yes', 'Yes, sign me out', 'logout')));
