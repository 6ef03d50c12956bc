"""The Content-Security-Policy of the sample chat."""

import secrets

from django.utils.deprecation import MiddlewareMixin

POLICY = (
    "default-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    """Allow only what this site serves: no inline script, no inline style.

    The nonce is for the one style sheet that Turbo puts into the page, of its
    progress bar; Turbo finds it in <meta name="csp-nonce">. The WebSocket of the
    same host is covered by 'self'.
    """

    def process_request(self, request):
        request.csp_nonce = secrets.token_urlsafe(16)

    def process_response(self, request, response):
        policy = POLICY.format(nonce=request.csp_nonce)
        response.headers.setdefault("Content-Security-Policy", policy)
        return response
