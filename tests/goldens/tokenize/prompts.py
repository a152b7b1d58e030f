"""Texts that tokenizers like to get wrong. Written for this project."""

PROMPTS: dict[str, str] = {
    "english": "The quick brown fox jumps over the lazy dog. It's 5 o'clock; we'll see what they've done, I'd say!",
    "code": "def f(x):\n    if x > 10:\n\t\treturn {'a': [1, 2], \"b\": None}  # done\n\n\n    for i in range(1000):\n"
    '            print(f"{i:>8}")\n',
    "german": "Übergrößenträger dürfen am Straßenübergang außergewöhnlich schnell fahren – 12.345,67 €.",
    "russian": "Съешь же ещё этих мягких французских булок, да выпей чаю. Ёлка №42.",
    "arabic": "مرحبا بالعالم، كيف حالكَ اليومَ؟ السعر ١٢٣ درهمًا.",
    "hindi": "नमस्ते दुनिया! आप कैसे हैं? यह २०२४ का वाक्य है, क्षत्रिय।",
    "chinese": "今天天气不错，我们去公园散步吧。价格是３４５元，共１０个。",
    "japanese": "吾輩は猫である。名前はまだ無い。カタカナとﾊﾝｶｸも１２３。",
    "korean": "안녕하세요, 세계! 오늘은 2024년 5월 17일입니다. 각 (\u1100\u1161\u11a8)",
    "emoji": "👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 👍🏽 skin, 🇩🇪 country, 🫠🫨 new, ❤️",
    "numbers": "3.14159 1,000,000 0x7fff 1e-10 ²³ ½ Ⅷ ٣ 12345678901234567890 a1b2c3 v2.0.1 2024-05-17T12:34:56Z",
    "whitespace": "  two lead\t\ttabs \t mix   three    four\n\n\n\n  \r\n\r\n x \u00a0nbsp\u3000wide\u2009thin"
    " \n \n end   ",
    "long runs": " " * 40 + "x" + "\n" * 40 + "y" + "\t" * 20 + "z" + " " * 3,
    "special tokens": "<|im_start|>user<|im_end|><bos>hi<eos><|endoftext|> <start_of_turn>a<end_of_turn> </s><s> "
    "<b>bold</b> <unused5> <|fim_prefix|> [INST]",
    "chat": "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nWhat's 2+2?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "gemma chat": "<start_of_turn>user\nWhat's 2+2?<end_of_turn>\n<start_of_turn>model\n",
    "decomposed": "Cafe\u0301 de\u0301ja\u0300 vu — A\u030angstro\u0308m, \u1112\u1161\u11ab",
    "apostrophes": "I'M HERE, HE'S there, don’t 'tis y'all'd've rock'n'roll 'LL",
    "marks": "e\u0301\u0301 ก็ ที่ ไม่ ঃ ক্ষ \u200b\u200d\ufeff zero-width \u202eRTL",
    "rare": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𓀀𓂀 ᚠᛇᚻ ꙮ \U0001f9ff \x00\x01\x7f \ufffd ▁under▁▁score ▁",
    "bytes": "\ue000\U0010fffd \u0378 <0x41><0xE4>",
    "digits and gaps": "a  1 b   22\n 3  \t4",
    "url": "https://example.com/a_b-c/?q=1&x=%20#frag mailto:a.b@c.de C:\\dir\\file.txt $x^2_{i}$ \\frac{1}{2}",
    "markdown": "# Title\n\n* item **bold** `code`\n1. one\n2. two\n\n| a | b |\n|---|---|\n```py\nx=1\n```\n---\n",
    "empty": "",
    "space": " ",
    "newline": "\n",
}
