"""Profiles as they are shipped, against providers that ask and answer as their documentation says.

A profile is copied with its addresses pointed here, and nothing else changed. What the provider wants and
says is written from the samples in its documentation, not from its profile.
"""
import datetime
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dialect import Dialect
from procs import ROOT
from walk import Fails, Walk

PROVIDERS = ROOT / "deploy/providers"


def pointed_here(name, base):
    """The shipped profile, every https://HOST in it a path of the dialect; but for where it was read."""
    out, source = [], False
    for line in (PROVIDERS / f"{name}.yaml").read_text().splitlines(True):
        if line[0] not in " -#\n":
            source = line.startswith("source")
        out.append(line if source else line.replace("https://", f"{base}/"))
    return "".join(out)


class Real:
    """
    ask, token   where (host and path); api: below what
    first        its answer to a code; $AT, $RT: the tokens, $OTHER: another token that is good
    again        its answer to a renewal, if that is another
    lives        seconds that its tokens live; None: not looked at
    gone         (status, body) that it refuses a renewal with when the grant is dead
    limit        (status, body, headers) that it says with that it is too much
    spec         what else it insists on (dialect.py)
    """

    def __init__(self, token, api, first, again=None, ask=None, lives=None, gone=None, limit=None, scopes=(), where=None,
                 question=None, at_token=None, values=None, calling=None, more=None, **spec):
        self.first, self.again, self.gone, self.limit, self.lives = first, again or first, gone, limit, lives
        self.values, self.calling, self.more = values, calling or {}, more or {}
        self.spec = {**spec, "scopes": scopes, "token": {"path": f"/{token}", **(at_token or {})},
                     "where": {"base": f"/{api}", **(where or {})}}
        if ask:
            self.spec["question"] = {"path": f"/{ask}", **(question or {})}

    def walk(self, rig, name):
        def answer(std, kind):
            sample = self.again if kind == "renewal" else self.first
            sample = sample[kind] if isinstance(sample.get(kind), dict) else sample
            return shaped(sample, std, other)

        other = rig.auth.mint("other", "basic")["access_token"]
        more = {**self.more, **({"values": self.values} if self.values else {})}
        if "claims" in self.spec:
            key = rsa.generate_private_key(65537, 2048)
            self.spec["signer"] = key.public_key()
            more["assertion"] = {**self.more.get("assertion", {}), "key": {"file": pem_of(key, rig.folder / "robot.pem")}}
        d = Dialect(rig.auth, rig.api, answer=answer, **self.spec)
        rig.dialects.append(d)
        lives = self.lives and (self.lives - 300, self.lives)
        w = Walk(rig, d, pointed_here(name, d.base), {"relative": True, **self.calling}, lives, **more)
        w.other = other
        return w


def pem_of(key, path):
    path.touch(0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return str(path)


def shaped(sample, std, other):
    if isinstance(sample, dict):
        return {k: shaped(v, std, other) for k, v in sample.items()}
    if isinstance(sample, list):
        return [shaped(v, std, other) for v in sample]
    if callable(sample):
        return sample()
    if not isinstance(sample, str):
        return sample
    return sample.replace("$AT", std["access_token"]).replace("$RT", std.get("refresh_token", "")).replace("$OTHER", other)


def epoch_in(seconds):
    return lambda: int(time.time()) + seconds


def date_in(seconds):
    return lambda: datetime.datetime.fromtimestamp(time.time() + seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def usual(**more):
    return {"access_token": "$AT", "refresh_token": "$RT", "token_type": "Bearer", **more}


def without(sample, *names):
    return {k: v for k, v in sample.items() if k not in names}


DEAD = (400, {"error": "invalid_grant", "error_description": "expired access/refresh token"})
POST = {"client": "post"}
NOBODY = {"client": "nobody"}  # not even a client_id
MACHINE = {"grant": "client_credentials"}
YEARS = 10 * 366 * 86400
GITHUB = {"headers": {"Accept": "application/vnd.github+json", "User-Agent": None, "X-GitHub-Api-Version": None}}
GITHUB_LIMIT = (403, {"message": "API rate limit exceeded"}, lambda: {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(epoch_in(1)())})
SLACK = {"ok": True, "app_id": "A111", "scope": "app_mentions:read,chat:write", "token_type": "bot", "access_token": "$AT",
         "bot_user_id": "UB111", "team": {"id": "T111", "name": "Testing Workspace"}, "is_enterprise_install": False}
SALESFORCE = usual(signature="0CmxinZir53Yex7nE0TD+zMpvIWYGb/bdJh6XfOH6EQ=", scope="api refresh_token",
                   instance_url="BASE/mycompany.my.salesforce.com", id="https://login.salesforce.com/id/00Dx/005x", issued_at="1278448101416")
REDDIT = {"User-Agent": "server:basic:1 (by /u/ada)"}
LONG = {"access_token": "$AT", "token_type": "bearer", "expires_in": 5183944}

REAL = {
    "google": Real(
        "oauth2.googleapis.com/token", "www.googleapis.com", ask="accounts.google.com/o/oauth2/v2/auth",
        question={"need": {"access_type": "offline", "prompt": "consent"}}, at_token=POST, lasting=True,
        scopes=["https://www.googleapis.com/auth/drive.metadata.readonly"], lives=3920,
        first=usual(expires_in=3920, scope="https://www.googleapis.com/auth/drive.metadata.readonly"),
        again={"access_token": "$AT", "expires_in": 3920, "scope": "https://www.googleapis.com/auth/drive.metadata.readonly",
               "token_type": "Bearer"},
        gone=DEAD, limit=(403, {"error": {"errors": [{"domain": "usageLimits", "reason": "userRateLimitExceeded"}], "code": 403}}, dict)),
    "microsoft": Real(
        "login.microsoftonline.com/common/oauth2/v2.0/token", "graph.microsoft.com/v1.0",
        ask="login.microsoftonline.com/common/oauth2/v2.0/authorize", at_token=POST, scopes=["offline_access", "Mail.Read"],
        first=usual(expires_in=3599, scope="Mail.Read", id_token="eyJ0"), lives=3599,
        gone=(400, {"error": "interaction_required", "error_description": "AADSTS50076", "error_codes": [50076]})),
    "github": Real(
        "github.com/login/oauth/access_token", "api.github.com", ask="github.com/login/oauth/authorize",
        at_token={**POST, "headers": {"Accept": "application/json"}}, scopes=["repo", "gist"], where=GITHUB, lives=YEARS,
        first={"access_token": "$AT", "scope": "repo,gist", "token_type": "bearer"}, calling={"needs": ["gist"]}, limit=GITHUB_LIMIT),
    "github-app": Real(
        "github.com/login/oauth/access_token", "api.github.com", ask="github.com/login/oauth/authorize",
        at_token={**POST, "headers": {"Accept": "application/json"}}, where=GITHUB, lives=28800,
        first=usual(expires_in=28800, refresh_token_expires_in=15811200, scope="", token_type="bearer"),
        gone=(200, {"error": "bad_refresh_token", "error_description": "The refresh token passed is incorrect or expired."}),
        limit=(403, {"message": "You have exceeded a secondary rate limit"}, lambda: {"retry-after": "1"})),
    "slack": Real(
        "slack.com/api/oauth.v2.access", "slack.com/api", ask="slack.com/oauth/v2/authorize", pkce=False, separator=",",
        scopes=["app_mentions:read", "chat:write"], lives=43200, calling={"needs": ["chat:write"]},
        first={**SLACK, "refresh_token": "$RT", "expires_in": 43200,
               "authed_user": {"id": "W111", "scope": "search:read", "access_token": "$OTHER", "token_type": "user", "expires_in": 43200}},
        again={**without(SLACK, "scope", "token_type"), "refresh_token": "$RT", "expires_in": 43200},
        gone=(200, {"ok": False, "error": "invalid_refresh_token"})),
    "slack-unrotated": Real(
        "slack.com/api/oauth.v2.access", "slack.com/api", ask="slack.com/oauth/v2/authorize", pkce=False, separator=",",
        scopes=["app_mentions:read", "chat:write"], lives=YEARS,
        first={**SLACK, "authed_user": {"id": "U1234", "scope": "chat:write", "access_token": "$OTHER", "token_type": "user"}}),
    "salesforce": Real(
        "login.salesforce.com/services/oauth2/token", "mycompany.my.salesforce.com",
        ask="login.salesforce.com/services/oauth2/authorize", at_token=POST, scopes=["api", "refresh_token"], lasting=True,
        first=SALESFORCE, again=without(SALESFORCE, "refresh_token"), lives=3600, gone=DEAD),
    "hubspot": Real(
        "api.hubapi.com/oauth/2026-03/token", "api.hubapi.com", ask="app.hubspot.com/oauth/authorize", at_token=POST,
        scopes=["oauth", "crm.objects.contacts.read"], lasting=True, lives=1800, calling={"needs": ["crm.objects.contacts.read"]},
        first=usual(token_type="bearer", hub_id=62515, scopes=["oauth", "crm.objects.contacts.read"], expires_in=1800)),
    "notion": Real(
        "api.notion.com/v1/oauth/token", "api.notion.com/v1", ask="api.notion.com/v1/oauth/authorize",
        question={"need": {"owner": "user"}}, at_token={"body": "json"}, where={"headers": {"Notion-Version": None}}, lives=YEARS,
        first=usual(token_type="bearer", bot_id="3c90c3cc", workspace_id="3c90", owner={"type": "user"}, duplicated_template_id=None)),
    "quickbooks": Real(
        "oauth.platform.intuit.com/oauth2/v1/tokens/bearer", "quickbooks.api.intuit.com/v3/company/4620816365291273770",
        ask="appcenter.intuit.com/connect/oauth2", callback={"realmId": "4620816365291273770"},
        at_token={"headers": {"Accept": "application/json"}}, scopes=["com.intuit.quickbooks.accounting"], lives=3600,
        first=usual(token_type="bearer", expires_in=3600, x_refresh_token_expires_in=8726400), gone=DEAD),
    "shopify": Real(
        "acme.myshopify.com/admin/oauth/access_token", "acme.myshopify.com/admin/api", ask="acme.myshopify.com/admin/oauth/authorize",
        values={"shop": "acme"}, callback={"hmac": "da9d83c1", "host": "aG9zdA", "shop": "acme.myshopify.com", "timestamp": "1337178173"},
        separator=",", scopes=["write_orders", "read_customers"], at_token={**POST, "need": {"expiring": "1"}}, renewal={"need": {}},
        where={"name": "X-Shopify-Access-Token", "scheme": ""}, lives=3600, calling={"needs": ["read_customers"]},
        first={"access_token": "$AT", "scope": "write_orders,read_customers", "expires_in": 3600, "refresh_token": "$RT",
               "refresh_token_expires_in": 7776000}, dress=("shpat_", "shprt_")),
    "zoho": Real(
        "accounts.zoho.eu/oauth/v2/token", "www.zohoapis.eu", ask="accounts.zoho.eu/oauth/v2/auth", values={"region": "eu"},
        callback={"location": "eu", "accounts-server": "https://accounts.zoho.eu"}, separator=",",
        question={"need": {"access_type": "offline", "prompt": "consent"}}, at_token=POST, lasting=True,
        scopes=["ZohoCRM.modules.ALL", "ZohoCRM.settings.READ"], where={"scheme": "Zoho-oauthtoken"}, lives=3600,
        dress=("1000.", "1000."), first=usual(api_domain="BASE/www.zohoapis.eu", expires_in=3600),
        again={"access_token": "$AT", "expires_in": 3600, "api_domain": "BASE/www.zohoapis.eu", "token_type": "Bearer"}),
    "facebook": Real(
        "graph.facebook.com/v21.0/oauth/access_token", "graph.facebook.com/v21.0", ask="www.facebook.com/v21.0/dialog/oauth",
        separator=",", scopes=["email", "pages_show_list"], at_token={**POST, "method": "GET", "body": "query"},
        chain={"path": "/graph.facebook.com/v21.0/oauth/access_token", "method": "GET", "body": "query", "client": "post",
               "need": {"grant_type": "fb_exchange_token"}, "rename": {"access_token": "fb_exchange_token"}},
        first={"token": {"access_token": "$AT", "token_type": "bearer", "expires_in": 5183}, "chain": LONG}, lives=5183944),
    "instagram": Real(
        "api.instagram.com/oauth/access_token", "graph.instagram.com", ask="www.instagram.com/oauth/authorize", separator=",",
        scopes=["instagram_business_basic", "instagram_business_manage_comments"], at_token=POST, by_token=True, lives=5127758,
        chain={"path": "/graph.instagram.com/access_token", "method": "GET", "body": "query", "client": "post",
               "leave": ["client_id"], "need": {"grant_type": "ig_exchange_token"}},
        renewal={"path": "/graph.instagram.com/refresh_access_token", "method": "GET", "body": "query", "client": "none",
                 "need": {"grant_type": "ig_refresh_token"}, "rename": {"refresh_token": "access_token"}},
        first={"token": {"access_token": "$AT", "user_id": 17841400000000000, "permissions": ["instagram_business_basic"]},
               "chain": {**LONG, "expires_in": 5127758}},
        again={"access_token": "$AT", "token_type": "bearer", "expires_in": 5127758, "permissions": "instagram_business_basic"}),
    "threads": Real(
        "graph.threads.net/oauth/access_token", "graph.threads.net/v1.0", ask="threads.net/oauth/authorize", separator=",",
        scopes=["threads_basic", "threads_content_publish"], at_token=POST, by_token=True, lives=5183944,
        chain={"path": "/graph.threads.net/access_token", "method": "GET", "body": "query", "client": "post",
               "leave": ["client_id"], "need": {"grant_type": "th_exchange_token"}},
        renewal={"path": "/graph.threads.net/refresh_access_token", "method": "GET", "body": "query", "client": "none",
                 "need": {"grant_type": "th_refresh_token"}, "rename": {"refresh_token": "access_token"}},
        first={"token": {"access_token": "$AT", "user_id": 17841405793187218}, "chain": LONG}, again=LONG, dress=("TH", "")),
    "tiktok": Real(
        "open.tiktokapis.com/v2/oauth/token/", "open.tiktokapis.com/v2", ask="www.tiktok.com/v2/auth/authorize/", separator=",",
        pkce=False, scopes=["user.info.basic", "video.list"], question={"rename": {"client_id": "client_key"}},
        at_token={**POST, "rename": {"client_id": "client_key"}}, dress=("act.", "rft."), calling={"needs": ["video.list"]}, lives=86400,
        first=usual(expires_in=86400, open_id="afd97af1-b87b", refresh_expires_in=31536000, scope="user.info.basic,video.list"), gone=DEAD),
    "linkedin": Real(
        "www.linkedin.com/oauth/v2/accessToken", "api.linkedin.com", ask="www.linkedin.com/oauth/v2/authorization", pkce=False,
        at_token=POST, scopes=["r_basicprofile", "r_primarycontact"], where={"headers": {"X-Restli-Protocol-Version": "2.0.0"}},
        first={"access_token": "$AT", "expires_in": 5184000, "scope": "r_basicprofile,r_primarycontact"}, lives=5184000,
        calling={"needs": ["r_primarycontact"]}),
    "linkedin-partner": Real(
        "www.linkedin.com/oauth/v2/accessToken", "api.linkedin.com", ask="www.linkedin.com/oauth/v2/authorization", pkce=False,
        at_token=POST, scopes=["r_basicprofile"], lasting=True, lives=5184000,
        first={"access_token": "$AT", "expires_in": 5184000, "refresh_token": "$RT", "refresh_token_expires_in": 31536000,
               "scope": "r_basicprofile"}),
    "zoom": Real(
        "zoom.us/oauth/token", "api.zoom.us/v2", ask="zoom.us/oauth/authorize", scopes=["user:read:user"], lives=3599,
        first=usual(token_type="bearer", expires_in=3599, scope="user:read:user", api_url="https://api.zoom.us")),
    "xero": Real(
        "identity.xero.com/connect/token", "api.xero.com", ask="login.xero.com/identity/connect/authorize",
        scopes=["offline_access", "accounting.transactions"], lives=1800, where={"headers": {"Accept": "application/json"}},
        first=usual(expires_in=1800, scope="offline_access accounting.transactions"), gone=(400, {"error": "invalid_grant"})),
    "atlassian": Real(
        "auth.atlassian.com/oauth/token", "api.atlassian.com", ask="auth.atlassian.com/authorize",
        question={"need": {"audience": "api.atlassian.com", "prompt": "consent"}}, at_token={**POST, "body": "json"},
        scopes=["offline_access", "read:jira-work"], lives=3600,
        first={"access_token": "$AT", "expires_in": 3600, "scope": "read:jira-work offline_access", "refresh_token": "$RT"},
        gone=(403, {"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."})),
    "airtable": Real(
        "airtable.com/oauth2/v1/token", "api.airtable.com/v0", ask="airtable.com/oauth2/v1/authorize",
        scopes=["data.records:read", "schema.bases:read"], dress=("oaa.v1.", "oaa.v1."), lives=3600,
        first=usual(scope="data.records:read schema.bases:read", expires_in=3600, refresh_expires_in=5184000), gone=DEAD),
    "reddit": Real(
        "www.reddit.com/api/v1/access_token", "oauth.reddit.com", ask="www.reddit.com/api/v1/authorize", values={"username": "ada"},
        question={"need": {"duration": "permanent"}}, at_token={"headers": REDDIT}, where={"headers": REDDIT}, lasting=True,
        scopes=["identity", "read"], lives=3600, first=usual(token_type="bearer", expires_in=3600, scope="identity read"),
        again={"access_token": "$AT", "token_type": "bearer", "expires_in": 3600, "scope": "identity read"}),
    "twitch": Real(
        "id.twitch.tv/oauth2/token", "api.twitch.tv/helix", ask="id.twitch.tv/oauth2/authorize", at_token=POST,
        scopes=["channel:moderate", "chat:edit"], where={"headers": {"Client-Id": "basic"}}, dress=("", "%6VFV5/3+j "), lives=14124,
        first=usual(token_type="bearer", expires_in=14124, scope=["channel:moderate", "chat:edit"]),
        again=usual(token_type="bearer", expires_in=14124, scope="channel:moderate chat:edit"), calling={"needs": ["chat:edit"]}),
    "pipedrive": Real(
        "oauth.pipedrive.com/oauth/token", "mycompany.pipedrive.com", ask="oauth.pipedrive.com/oauth/authorize",
        scopes=["base", "deals:full"], lives=3599, dress=("53:179:", "53:179:"), calling={"needs": ["deals:full"]},
        first=usual(expires_in=3599, scope="base,deals:full,contacts:read", api_domain="BASE/mycompany.pipedrive.com")),
    "stripe": Real(
        "connect.stripe.com/oauth/token", "api.stripe.com", ask="connect.stripe.com/oauth/authorize", at_token=POST,
        scopes=["read_write"], lives=YEARS,
        first=usual(livemode=False, token_type="bearer", stripe_publishable_key="pk_test", stripe_user_id="acct_1", scope="read_write")),
    "paypal": Real(
        "api-m.paypal.com/v1/oauth2/token", "api-m.paypal.com", grant="client_credentials", lives=31668,
        first={"scope": "https://uri.paypal.com/services/invoicing openid", "access_token": "$AT", "token_type": "Bearer",
               "app_id": "APP-80W284485P519543T", "expires_in": 31668, "nonce": "2020-04-03T15:35:36ZaYZlG"}),
    "amazon": Real(
        "api.amazon.com/auth/o2/token", "sellingpartnerapi-eu.amazon.com", grant="refresh_token", values={"region": "eu"}, at_token=POST,
        where={"name": "x-amz-access-token", "scheme": ""}, dress=("Atza|", "Atzr|"), first=usual(token_type="bearer", expires_in=3600),
        lives=3600, gone=(400, {"error": "invalid_grant", "error_description": "The request has an invalid grant parameter : refresh_token"})),
    "front": Real(
        "app.frontapp.com/oauth/token", "api2.frontapp.com", ask="app.frontapp.com/oauth/authorize", lives=3600,
        first=usual(expires_at="1773000000")),
    "monday": Real(
        "auth.monday.com/oauth_ms/oauth/token", "api.monday.com", ask="auth.monday.com/oauth2/authorize",
        at_token={**POST, "body": "json"}, scopes=["me:read", "boards:read"], first=usual(expires_in=3600), lives=3600),
    "monday-legacy": Real(
        "auth.monday.com/oauth2/token", "api.monday.com", ask="auth.monday.com/oauth2/authorize", at_token=POST,
        scopes=["me:read", "boards:read"], lives=YEARS, first={"access_token": "$AT", "token_type": "Bearer", "scope": "me:read boards:read"}),
    "mailchimp": Real(
        "login.mailchimp.com/oauth2/token", "us19.api.mailchimp.com/3.0", ask="login.mailchimp.com/oauth2/authorize", at_token=POST,
        values={"dc": "us19"}, lives=YEARS, first={"access_token": "$AT", "expires_in": 0, "scope": None}),
    "strava": Real(
        "www.strava.com/api/v3/oauth/token", "www.strava.com/api/v3", ask="www.strava.com/oauth/authorize", at_token=POST, separator=",",
        scopes=["read", "activity:read"], lives=21600,
        first=usual(expires_at=epoch_in(21600), expires_in=21600, athlete={"id": 1}),
        again=usual(expires_at=epoch_in(21600), expires_in=21600)),
    "square": Real(
        "connect.squareup.com/oauth2/token", "connect.squareup.com/v2", ask="connect.squareup.com/oauth2/authorize", pkce=False,
        question={"need": {"session": "false"}}, at_token={**POST, "body": "json"}, scopes=["MERCHANT_PROFILE_READ"], lasting=True,
        lives=2592000, first=usual(token_type="bearer", expires_at=date_in(2592000), merchant_id="D7A93DHKMBBDD", short_lived=False)),
    "fitbit": Real(
        "api.fitbit.com/oauth2/token", "api.fitbit.com", ask="www.fitbit.com/oauth2/authorize", scopes=["activity", "profile"], lives=28800,
        first=usual(expires_in=28800, scope="activity profile", user_id="26FWFL"),
        gone=(400, {"errors": [{"errorType": "invalid_grant", "message": "Refresh token invalid: c643."}], "success": False})),
    "podio": Real(
        "api.podio.com/oauth/token/v2", "api.podio.com", ask="podio.com/oauth/authorize", at_token=POST, where={"scheme": "OAuth2"},
        lives=28800, first=usual(token_type="bearer", ref={"type": "user", "id": 123456}, expires_in=28800)),
    "figma": Real(
        "api.figma.com/v1/oauth/token", "api.figma.com", ask="www.figma.com/oauth", renewal={"path": "/api.figma.com/v1/oauth/refresh"},
        scopes=["file_content:read"], lasting=True, lives=7776000, dress=("figu_", "figur_"),
        first=usual(user_id_string="1234", token_type="bearer", expires_in=7776000), again={"access_token": "$AT", "expires_in": 7776000}),
    "pinterest": Real(
        "api.pinterest.com/v5/oauth/token", "api.pinterest.com/v5", ask="www.pinterest.com/oauth/", separator=",",
        scopes=["boards:read", "pins:read"], at_token={"need": {"continuous_refresh": "true"}}, renewal={"need": {}},
        calling={"needs": ["pins:read"]}, lives=2592000,
        first=usual(token_type="bearer", expires_in=2592000, refresh_token_expires_in=5184000, scope="boards:read pins:read")),
    "bitbucket": Real(
        "bitbucket.org/site/oauth2/access_token", "api.bitbucket.org/2.0", ask="bitbucket.org/site/oauth2/authorize", lives=7200,
        scopes=["account", "pullrequest"], calling={"needs": ["pullrequest"]},
        first=usual(token_type="bearer", expires_in=7200, scopes="wiki pullrequest project team account")),
    # ---- without an owner
    "microsoft+client_credentials": Real(
        "login.microsoftonline.com/contoso.example/oauth2/v2.0/token", "graph.microsoft.com/v1.0", values={"tenant": "contoso.example"},
        scopes=["https://graph.microsoft.com/.default"], **MACHINE, at_token=POST, lives=3599,
        first={"token_type": "Bearer", "expires_in": 3599, "access_token": "$AT"}),
    "spotify+client_credentials": Real(
        "accounts.spotify.com/api/token", "api.spotify.com/v1", **MACHINE, lives=3600,
        first={"access_token": "$AT", "token_type": "bearer", "expires_in": 3600}),
    "zoom+client_credentials": Real(
        "zoom.us/oauth/token", "api.zoom.us/v2", **MACHINE, values={"account": "gYz8S9w5"}, lives=3600,
        at_token={"need": {"grant_type": "account_credentials", "account_id": "gYz8S9w5"}},
        first={"access_token": "$AT", "token_type": "bearer", "expires_in": 3600, "scope": "user:read:admin"}),
    "box+client_credentials": Real(
        "api.box.com/oauth2/token", "api.box.com/2.0", **MACHINE, values={"enterprise": "12345"}, lives=3600,
        at_token={**POST, "need": {"box_subject_type": "enterprise", "box_subject_id": "12345"}},
        first={"access_token": "$AT", "expires_in": 3600, "restricted_to": [], "token_type": "bearer"}),
    "ebay+client_credentials": Real(
        "api.ebay.com/identity/v1/oauth2/token", "api.ebay.com", **MACHINE, scopes=["https://api.ebay.com/oauth/api_scope"], lives=7200,
        first={"access_token": "$AT", "expires_in": 7200, "token_type": "Application Access Token"}),
    "adobe+client_credentials": Real(
        "ims-na1.adobelogin.com/ims/token/v3", "usermanagement.adobe.io", **MACHINE, values={"api_host": "usermanagement.adobe.io"},
        scopes=["openid", "AdobeID"], separator=",", at_token=POST, lives=86399, where={"headers": {"x-api-key": "basic"}},
        first={"access_token": "$AT", "token_type": "bearer", "expires_in": 86399}),
    "salesforce+client_credentials": Real(
        "mycompany.my.salesforce.com/services/oauth2/token", "mycompany.my.salesforce.com", **MACHINE, at_token=POST,
        values={"domain": "mycompany.my.salesforce.com"}, first=without(SALESFORCE, "refresh_token", "scope"), lives=3600),
    "salesforce+jwt_bearer": Real(
        "login.salesforce.com/services/oauth2/token", "mycompany.my.salesforce.com", grant="jwt_bearer", at_token=NOBODY, scopes=[],
        claims={"iss": "basic", "sub": "bob@company.example", "aud": "BASE/login.salesforce.com"},
        more={"assertion": {"subject": "bob@company.example"}}, first=without(SALESFORCE, "refresh_token"), lives=3600),
    "github-installation+jwt_bearer": Real(
        "api.github.com/app/installations/4711/access_tokens", "api.github.com", grant="jwt_bearer", values={"installation": "4711"},
        at_token={"client": "assertion", **GITHUB}, where=GITHUB, lives=3600, limit=GITHUB_LIMIT, scopes=[],
        claims={"iss": "basic", "aud": "BASE/api.github.com/app/installations/4711/access_tokens"},
        first={"token": "$AT", "expires_at": date_in(3600), "permissions": {"issues": "write"}, "repository_selection": "selected"}),
    "google+jwt_bearer": Real(
        "oauth2.googleapis.com/token", "www.googleapis.com", grant="jwt_bearer", at_token=NOBODY, lives=3599,
        scopes=["https://www.googleapis.com/auth/prediction"],
        claims={"iss": "basic", "aud": "BASE/oauth2.googleapis.com/token", "scope": "https://www.googleapis.com/auth/prediction"},
        first={"access_token": "$AT", "token_type": "Bearer", "expires_in": 3599}),
    "docusign+jwt_bearer": Real(
        "account-d.docusign.com/oauth/token", "demo.docusign.net/restapi", grant="jwt_bearer", at_token=NOBODY, lives=3600,
        values={"environment": "account-d", "server": "demo"}, scopes=["impersonation", "signature"],
        claims={"iss": "basic", "sub": "a-user", "aud": "account-d.docusign.com", "scope": "impersonation signature"},
        more={"assertion": {"subject": "a-user"}}, first={"access_token": "$AT", "token_type": "Bearer", "expires_in": 3600}),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_provider(here, name):
    """Linked, used and renewed; told that it is too much; and refused for good."""
    real, name = REAL[name], name.partition("+")[0]
    if name == "amazon":  # its owner got it in the provider's own pages
        real.more = {"refresh_token": {"file": "amazon.refresh"}}
        path = here.folder / "amazon.refresh"
        path.touch(0o600)
        path.write_text("Atzr|" + here.auth.mint("seller", "basic")["refresh_token"])
    w = real.walk(here, name).whole()
    if name == "slack-unrotated":
        assert w.call(token="user")["state"] == "done" and w.dialect.log[-1]["token"] == w.other
    if real.limit:
        status, body, headers = real.limit
        w.dialect.say("api", status, body, headers())
        got = w.call(retry={"max": 3})
        assert (got["state"], got["attempts"]) == ("done", 2)
    if real.gone:
        w.dialect.say("renewal", *real.gone)
        with pytest.raises(Fails):
            w.renew()
        assert w.show()["state"] == "NEEDS_CONSENT", w.show()
    assert not w.dialect.refused
