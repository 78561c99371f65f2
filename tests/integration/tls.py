"""tls.py - a certificate authority for one test, and certificates of it, by openssl(1)."""
import subprocess

from procs import program


def openssl(*args):
    done = subprocess.run([program("openssl"), *map(str, args)], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr


class Authority:
    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.cert = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", f"/CN=awq test {name}", "-keyout", self.key,
                "-out", self.cert)

    def issue(self, cn, alt="IP:127.0.0.1,DNS:localhost", name=None, days=2):
        """(certificate, key) for CN=cn and those subjectAltNames; name: of its files. days < 0: it has ended."""
        name = name or cn
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        request, ext = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        ext.write_text(f"subjectAltName={alt}\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", f"/CN={cn}", "-keyout", key, "-out", request)
        sign = ["x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-extfile", ext, "-out", cert]
        try:
            openssl(*sign, "-days", days)
        except AssertionError:  # openssl 3.4 no longer lets an end be before the beginning in days
            openssl(*sign, "-not_before", "20200101000000Z", "-not_after", "20200102000000Z")
        return cert, key
