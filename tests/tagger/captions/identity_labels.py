"""General tags of danbooru with the identity kind that a person would give them, none for most.

Drawn at random from the tag list of a WD14 tagger, more than half of them among the tags with words
like hair, eyes, tail or ring. The vocabulary of `tagger/captions/identity_words.py` was written with the rest
of that list and SEEN in view; HELD_OUT was labelled afterwards and not used to change it.
"""


def _labels(**kinds):
    return {
        tag: None if kind == "none" else kind
        for kind, block in kinds.items()
        for tag in block.replace("\n", " ").strip().split(", ")
    }


SEEN = _labels(
    hair="""
bald, bangs, bangs pinned back, blonde hair, braid, braided bun, brown hair, colored inner hair,
crossed bangs, french braid, front ponytail, hair between eyes, hair slicked back, medium hair,
ponytail, short hair with long locks, short ponytail, short twintails, side braid, single braid,
single hair bun, split-color hair, straight hair, tri tails, very long hair, wavy hair
""",
    eyes="""
aqua eyes, bags under eyes, black eyes, black sclera, brown eyes, button eyes, colored
eyelashes, eyebrow cut, flaming eye, flower-shaped pupils, forked eyebrows, gradient eyes, green
sclera, long eyelashes, multicolored eyes, one-eyed, orange eyes, red pupils, short eyebrows,
slit pupils, star-shaped pupils, symbol in eye, tsurime, white eyes, white pupils, yellow eyes,
yellow pupils
""",
    body="""
animal ear fluff, animal ears, animal nose, arm tattoo, arthropod girl, asymmetrical wings, bat
wings, black skin, cat tail, cow ears, curvy, demon girl, demon horns, detached wings, dog girl,
dragon girl, extra ears, facial hair, facial mark, facial tattoo, fish tail, flame-tipped tail,
floppy ears, forehead mark, large tail, medium breasts, mini wings, mole, multiple horns,
multiple tails, puffy nipples, scar, scar on face, sharp fingernails, shoulder tattoo, thick
thighs, toned, toned male, wide hips, winged arms
""",
    accessories="""
animal collar, bandage over one eye, belt collar, black choker, black hairband, black headband,
black nails, blue nails, crescent hair ornament, cross earrings, ear piercing, ear ribbon,
earbuds, fake tail, frog hair ornament, goggles, green nails, hair beads, hair scrunchie, hair
tie, headdress, hoop earrings, horn ribbon, interface headset, jewelry, mask on head, multiple
earrings, multiple rings, neck ring, nipple piercing, pink hairband, pink lips, pink nails,
purple nails, rimless eyewear, skull hair ornament, toenail polish, white choker
""",
    none="""
1other, 3boys, > <, ^^^, adjusting eyewear, alternate hairstyle, alternate legwear, anal
fingering, animal on head, ankle boots, arm behind head, arm ribbon, arm strap, back, barefoot,
battle, bdsm, bear, bike shorts, black neckerchief, black necktie, black pantyhose, black
thighhighs, blue jacket, blue thighhighs, bodystocking, bookshelf, bouncing breasts, bound
wrists, breast lift, breast sucking, breastless clothes, brick wall, brown dress, brown jacket,
bunny print, candy, chair, character doll, checkered clothes, chibi inset, collarbone, collared
jacket, competition school swimsuit, controller, covered eyes, covering, covering own eyes,
cowboy hat, crop top, crying with eyes open, cum on body, diagonal-striped bow, dolphin shorts,
drawing, eating, empty eyes, epaulettes, erection, eye contact, eyebrows hidden by hair, eyes
visible through hair, facial, firing, folded, folded fan, formal, frilled dress, frilled hat,
fucked silly, fur-trimmed capelet, gag, genderswap, gift box, glass, glowing, glowing eye,
glowing eyes, green necktie, green thighhighs, hair censor, hair down, hair over breasts,
half-closed eyes, hand on another's face, hand on own head, hand on own stomach, hand over eye,
hands in hair, hands up, hat over one eye, hat ribbon, heart, heart cutout, heart in eye,
heart-shaped box, holding bag, holding card, holding chopsticks, holding food, holding gun,
holding microphone, holding polearm, holding staff, holding stuffed toy, holding wand, house,
idol, interspecies, invisible chair, jiangshi, knees to chest, leaf, leaf on head, leaning
forward, lifted by self, light blush, lingerie, lips, loafers, lolita fashion, magical girl,
male swimwear, male underwear, marker (medium), mecha musume, micro shorts, microphone, moaning,
monochrome, mouse, multi-strapped bikini, multicolored legwear, multiple girls, naked ribbon,
o-ring bottom, o-ring top, off-shoulder shirt, office lady, one breast out, one eye closed,
open-chest sweater, own hands clasped, palm tree, parted lips, pen, pink neckerchief, pink
shirt, pink skirt, pinky out, playboy bunny, pocket, pokemon (creature), polka dot bow, popped
collar, power lines, print bow, profile, puckered lips, puffy short sleeves, purple panties,
pussy juice, raised eyebrow, raised eyebrows, red bowtie, red kimono, red shorts, red vest,
reverse bunnysuit, ribbed sweater, ribbon-trimmed sleeves, road, robot, rolling eyes, sailor
shirt, scarf, science fiction, selfie, sexually suggestive, shawl, shield, shirt tucked in,
shorts under skirt, single bare shoulder, single thighhigh, skin tight, skindentation, skirt
hold, skirt lift, spear, starry background, steaming body, string of flags, striped thighhighs,
suspender shorts, t-shirt, tail through clothes, teardrop, text focus, thigh boots, thigh grab,
thighhighs, thighs, thorns, tight, time paradox, toeless legwear, toenails, tongue out, top hat,
tying hair, underwater, underwear only, uneven legwear, upturned eyes, v over eye, waistcoat,
water, white footwear, white kimono, white pantyhose, wide-eyed, wizard hat, xd, yawning, year
of the ox, yellow neckerchief, yukata, yukkuri shiteitte ne
""",
)

HELD_OUT = _labels(
    hair="""
blunt bangs, flipped hair, green hair, hair bun, hair horns, hime cut, long hair, low ponytail,
low-tied long hair, messy hair, quad tails, ringlets, sidelocks, swept bangs, very short hair
""",
    eyes="""
blue eyes, horizontal pupils, pink pupils, purple eyes
""",
    body="""
beard, black pubic hair, body markings, broken horn, butterfly wings, cat boy, chest tattoo,
dark skin, fangs out, full-body tattoo, goatee, heart tail, horse girl, male pubic hair,
mechanical horns, mismatched pubic hair, mole on thigh, mole under mouth, mouse tail,
multicolored skin, oni, oppai loli, scar on forehead, shark tail, sheep horns, snake tail, tapir
tail, very long fingernails, white wings
""",
    accessories="""
black-framed eyewear, candy hair ornament, clitoris piercing, collar, earpiece, eyeliner, flower
earrings, gold earrings, headband, heart-shaped eyewear, key necklace, lip piercing,
orange-tinted eyewear, polos crown, pom pom hair ornament, scrunchie, semi-rimless eyewear, star
halo, super crown, tail ribbon, x hair ornament, yellow choker
""",
    none="""
aged down, aiming, alternate universe, american flag dress, ankle ribbon, arm between breasts,
ball gag, baozi, bar (place), bear print, black bag, black sailor collar, blood from eyes, blood
splatter, blue leotard, blue neckerchief, body writing, bow legwear, breasts on glass, brown
cardigan, brown scarf, checkered necktie, chest belt, cigar, clothes writing, convenient
censoring, drawing sword, drink, dripping, dual wielding, earth (planet), facing another,
fashion, flashlight, flying, fringe trim, fur collar, furrowed brow, g-string, gourd, grabbing
another's hair, green background, green bikini, grey background, grey coat, grey shorts, gun,
hair flip, hairjob, halterneck, hand in own hair, hands on another's head, hands on own thighs,
happy new year, head out of frame, heart censor, heart in mouth, heart of string, heart-shaped
pupils, high-waist shorts, holding animal, holding cup, holding fork, holding instrument,
holding own tail, holding tray, holding water gun, horns through headwear, hose, humanization,
kalashnikov rifle, leaning to the side, licking lips, marker, mod3 (girls' frontline), monster,
mushroom, neckwear grab, open bodysuit, orange footwear, pink bow, pink kimono, pink sailor
collar, pink thighhighs, plaid scarf, polearm, princess carry, print kimono, purple sailor
collar, purple vest, pursed lips, red flower, red thighhighs, shiny skin, short over long
sleeves, short sleeves, shoulder cutout, showering, signature, single elbow glove, snowing,
spear the gungnir, squatting cowgirl position, straw hat, street, striped bra, swirl lollipop,
tail wrap, tally, teacher, tearing up, thighlet, tilted headwear, toes, toothbrush, torn
thighhighs, trigger discipline, turtleneck sweater, twisted torso, umbrella, urethra, v-fin,
virtual youtuber, w arms, waist apron, whispering, white flower, white headwear, yandere, yellow
background
""",
)
