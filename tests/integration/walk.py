"""walk.py - an account's way through awq at a provider with a dialect: applied, linked, used, renewed, used again."""
import http.cookiejar
import itertools
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

from dialect import filled

NUMBERS = itertools.count(1)


class Fails(Exception):
    """What stopped it, in the words of whoever did: the provider, awq-ctl, or the worker."""


class Walk:
    """
    lines    of the profile, or the text of a whole one; HOST and BASE in them are the dialect's
    calling  members of its calls; relative: their url is below the connection's base_url
    lives    seconds that its tokens live: from, to
    more     of the connection's own file
    """

    def __init__(self, rig, dialect, lines, calling=None, lives=None, **more):
        self.rig, self.dialect, self.grant = rig, dialect, dialect.grant
        self.id = f"acct{next(NUMBERS)}"
        self.shipped = lines if isinstance(lines, str) else None
        lines = {} if self.shipped else lines
        self.profile = {"title": "A provider", "source": "https://provider.example", "checked": "2026-11-28",
                        "grants": [self.grant], "token_url": dialect.token_url, "client": {"auth": "basic"}}
        if self.grant == "authorization_code":
            self.profile["authorize_url"] = dialect.authorize_url
        self.profile = merged(self.profile, filled(lines, dialect))
        self.more = filled(more, dialect)
        self.calling, self.lives = dict(calling or {}), lives
        self.relative = self.calling.pop("relative", False)
        self.nothing_renews = yaml.safe_load(self.shipped or "{}").get("token", {}).get("renewal") == "none"

    def file(self, name, text, mode=0o600):
        path = self.rig.folder / name
        path.touch(mode)
        path.write_text(text)
        return str(path)

    @property
    def connection(self):
        secret = {} if self.grant == "jwt_bearer" else {"secret": {"file": self.file(f"{self.id}.secret", self.dialect.secret)}}
        own = {"id": self.id, "profile": f"./{self.id}.profile.yaml", "grant": self.grant,
               "client": {"id": self.dialect.client, **secret},
               "scopes": self.dialect.scopes,
               "policy": {"hosts": [self.dialect.host], "insecure_http": True, "allow_private": True}}
        return merged(own, self.more)

    # ---- its parts -------------------------------------------------------------------------------

    def apply(self):
        self.file(f"{self.id}.profile.yaml", self.shipped or yaml.safe_dump(self.profile))
        path = self.file(f"{self.id}.yaml", yaml.safe_dump(self.connection))
        done = self.rig.run_ctl("conn", "apply", "-f", path)
        self.must(done.code == 0, done.err)
        return done.out

    def must(self, good, text):
        """The provider's own reason first."""
        if not good:
            raise Fails("; ".join([*self.dialect.refused, str(text)]))

    def link(self):
        """Its owner says yes."""
        process = self.rig.start_ctl("conn", "link", self.id)
        url = process.stdout.readline().strip()
        if url:
            status, page = browse(f"{url}&login_hint={self.id}")
            if status != 200 and "was not linked" not in page:  # the provider has not asked its owner
                process.kill()
                process.communicate()
                raise Fails(page)
        out, err = process.communicate(timeout=30)
        assert 0 <= process.returncode < 99, f"conn link ended with {process.returncode}\n{err}"
        self.must(process.returncode == 0, err)
        return out

    def show(self):
        return self.rig.ctl("conn", "show", self.id, "-o", "json").json()

    def look(self):
        """How long its token lives from now is what was said."""
        if self.lives:
            left = round(self.show()["expires"] / 1000 - time.time())
            self.must(self.lives[0] <= left <= self.lives[1], f"it lives {left} s")

    def call(self, path="/echo", **more):
        job = self.rig.job(self.id, "http:", **{"retry": {"max": 0}, **more})
        job["call"]["url"] = path if self.relative else self.dialect.api + path
        return self.rig.result(job)

    def works(self):
        got = self.call(**self.calling)
        self.must(got["state"] == "done", got)
        return got

    def renew(self):
        done = self.rig.run_ctl("conn", "refresh", self.id)
        self.must(done.code == 0, done.out + done.err)

    def whole(self):
        """All of it, as the grant has it; a renewal is one that the provider saw."""
        self.apply()
        if self.grant == "authorization_code":
            self.link()
        else:
            self.renew()
        self.look()
        self.works()
        if self.nothing_renews:
            return self
        before = len(self.dialect.asked(self.renewal))
        self.renew()
        assert len(self.dialect.asked(self.renewal)) == before + 1
        self.look()
        self.works()
        return self

    @property
    def renewal(self):
        return "token" if self.grant in ("client_credentials", "jwt_bearer") else "renewal"


def merged(base, over):
    out = dict(base)
    for key, value in over.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def browse(url):
    """(status, page) of where the owner's browser ends."""
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)
    try:
        with opener.open(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()
