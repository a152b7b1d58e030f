"""The page's paths, asked without a browser: what they serve, to whom, and that no truth has a second copy."""

import re
from importlib.resources import files

import pytest

from tests.page.asking import planner
from tests.server.harness import Running, serving
from windowtax.engine.block_map import map_of, seen_of
from windowtax.engine.load import LoadedModel
from windowtax.engine.prompt import build_prompt
from windowtax.plan.page.document import figures_json
from windowtax.server.keys import make_keyring

STATIC = {one.name: one.read_text("utf-8") for one in files("windowtax.server.page").joinpath("static").iterdir()}
SCRIPTS = sorted(name for name in STATIC if name.endswith(".js"))
BOOK = "<html><body><h1>Ferries</h1><p>Number 7 leaves at&nbsp;noon.</p><script>no()</script></body></html>"


def test_the_page_and_its_files_forbid_everything_from_elsewhere(server: Running) -> None:
    paths = ["/", *(f"/page/{name}" for name in STATIC)]
    for path in paths:
        reply = server.client.get(path)
        assert reply.status_code == 200, path
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert server.client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert server.client.get("/page/main.js").headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize("name", ["nothing.js", "..%2froutes.py", "routes.py", "__init__.py"])
def test_nothing_else_is_served_as_a_file(server: Running, name: str) -> None:
    assert server.client.get(f"/page/{name}").status_code == 404


def test_scripts_load_what_is_there_and_make_no_markup_of_text() -> None:
    for name in SCRIPTS:
        text = STATIC[name]
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(SCRIPTS), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
    assert set(re.findall(r'"/page/([^"]+)"', STATIC["index.html"])) == {"style.css", "main.js"}
    assert " style=" not in STATIC["index.html"]


def test_every_element_that_a_script_asks_for_is_in_the_page() -> None:
    there = set(re.findall(r'id="([^"]+)"', STATIC["index.html"]))
    asked = {name for script in SCRIPTS for name in re.findall(r'byId\("([^"]+)"\)', STATIC[script])}
    assert asked and asked <= there


def test_files_are_read_as_the_command_line_reads_them(server: Running) -> None:
    read = server.client.post("/v1/page/document?name=ferries.html", content=BOOK.encode()).json()
    assert "Number 7 leaves at" in read["text"] and "<p>" not in read["text"] and "no()" not in read["text"]
    assert read["num_tokens"] == len(read["text"].encode()), "the tiny model's tokens are bytes"
    old = server.client.post("/v1/page/document?name=old.txt", content="größe\r\n".encode("cp1252")).json()
    assert old["text"] == "größe\n" and "cp1252" in old["note"]


@pytest.mark.parametrize(
    ("name", "data", "says"), [("a.pdf", b"%PDF-1.7 ...", "PDF"), ("b.txt", b"  \n", "no text"), ("c", b"a\0b", "NUL")]
)
def test_what_is_no_text_is_refused_in_words(server: Running, name: str, data: bytes, says: str) -> None:
    reply = server.client.post(f"/v1/page/document?name={name}", content=data)
    assert reply.status_code == 400 and says in reply.json()["error"]["message"]


def test_the_message_is_laid_out_as_ask_lays_it_out(server: Running) -> None:
    documents = [("a.txt", "One ferry."), ("b.txt", "Two ferries.")]
    body = {"documents": [{"name": name, "text": text} for name, text in documents], "question": "How many?"}
    content = server.post("/v1/page/message", body).json()["content"]
    asked = server.post("/tokenize", {"messages": [{"role": "user", "content": content}]}).json()["tokens"]
    assert asked == build_prompt(server.served.tokenizer, documents, "How many?").token_ids
    alone = server.post("/v1/page/message", {"question": "Hello"}).json()
    assert alone == {"content": "Hello"}


def test_the_map_is_that_of_the_engine(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": "A question that fills some blocks of sixteen."}], "max_tokens": 4}
    assert server.post("/v1/chat/completions", body).status_code == 200
    server.wait_idle()
    found = server.client.get("/v1/cache/map").json()
    seen = server.served.service.do(lambda engine: seen_of(engine, "")).result()
    assert found == map_of(server.engine, seen)
    assert any("A question that fills" in (one["words"] or "") for one in found["segments"])


def test_the_planner_stands_under_plan(server: Running) -> None:
    ours, asked = server.client.get("/plan/figures?context=64K").json(), planner()
    assert ours["plan"] == figures_json(asked, asked.start.read({"context": "64K"}))["plan"]
    framed = server.client.get("/plan/framed")
    assert (
        'class="live framed"' in framed.text and "frame-ancestors 'self'" in framed.headers["content-security-policy"]
    )
    wrong = server.client.get("/plan/figures?context=soon")
    assert wrong.status_code == 400 and "soon" in wrong.json()["message"]
    assert server.client.get("/plan/nothing").status_code == 404


def test_with_keys_the_page_is_open_and_what_it_asks_for_is_not(model: LoadedModel) -> None:
    with serving(model, keyring=make_keyring(["secret"])) as server:
        assert server.client.get("/").status_code == server.client.get("/page/main.js").status_code == 200
        closed = ["/v1/cache/map", "/plan/framed", "/v1/models"]
        assert [server.client.get(path).status_code for path in closed] == [401] * 3
        assert server.post("/v1/page/message", {"question": "x"}).status_code == 401
        assert server.client.post("/v1/page/document?name=x", content=b"x").status_code == 401
        with_key = {"Authorization": "Bearer secret"}
        assert server.client.get("/v1/cache/map", headers=with_key).status_code == 200
        assert server.client.get("/plan/framed", headers=with_key).status_code == 404, "this one has no planner"
